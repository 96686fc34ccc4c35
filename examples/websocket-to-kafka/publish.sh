tidegate pub --ws -q 1 -t requests/north -m '{"order":"A-17","text":"more bolts"}'
