tidegate pub -i press-17 -q 1 -t plant/line-1/temperature -m '{"value":21.5}'
