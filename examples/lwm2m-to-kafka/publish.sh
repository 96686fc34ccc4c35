# Debian: libcoap3-bin. A device that registers and sends its battery level (LwM2M 1.1 Send), from one port.
coap-client-notls -p 40123 -m post -t 40 -e '</3/0>' 'coap://127.0.0.1:5783/rd?ep=meter-5&lwm2m=1.1&lt=300'
coap-client-notls -p 40123 -m post -t 110 -e '[{"n":"/3/0/9","v":87}]' coap://127.0.0.1:5783/dp
