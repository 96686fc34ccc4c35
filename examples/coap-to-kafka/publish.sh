# Debian: libcoap3-bin
coap-client-notls -m post -t application/json -e '{"kwh":1042}' coap://127.0.0.1/ps/meters/meter-5/energy
