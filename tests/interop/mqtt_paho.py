"""Paho: publishes and hears itself over TCP and WebSocket, at every QoS. `mqtt_paho.py VERSION TCP_PORT WS_PORT [CA_FILE]`."""

import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE = 15
version = {"311": mqtt.MQTTv311, "5": mqtt.MQTTv5}[sys.argv[1]]
tcp_port, ws_port = int(sys.argv[2]), int(sys.argv[3])
# Over TLS if there is an authority to trust.
ca_file = sys.argv[4] if len(sys.argv) > 4 else None


def connect(name, transport, port):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=version, transport=transport)
    ready = queue.Queue()
    client.on_connect = lambda client, data, flags, reason, properties: ready.put(str(reason))
    if transport == "websockets":
        client.ws_set_options(path="/mqtt")
    if ca_file:
        client.tls_set(ca_certs=ca_file)
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert ready.get(timeout=PATIENCE) == "Success"
    return client


ports = {"tcp": tcp_port, "websockets": ws_port}
for hears, speaks in (("tcp", "tcp"), ("websockets", "tcp"), ("tcp", "websockets"), ("websockets", "websockets")):
    listener = connect(f"paho-listener-{hears}-{speaks}", hears, ports[hears])
    speaker = connect(f"paho-speaker-{hears}-{speaks}", speaks, ports[speaks])
    granted, heard = queue.Queue(), queue.Queue()
    listener.on_subscribe = lambda client, data, mid, reasons, properties: granted.put([reason.value for reason in reasons])
    listener.on_message = lambda client, data, message: heard.put(message)
    listener.subscribe([("paho/+", 2), ("other/#", 1)])
    assert granted.get(timeout=PATIENCE) == [2, 1]
    for qos in (0, 1, 2):
        properties = None
        if version == mqtt.MQTTv5:
            properties = Properties(PacketTypes.PUBLISH)
            properties.ContentType, properties.UserProperty = "application/cbor", ("unit", "mm")
            properties.CorrelationData = b"\x00\x01"
        body = bytes(range(256)) * (qos * 300 + 1)
        speaker.publish(f"paho/{qos}", body, qos=qos, properties=properties).wait_for_publish(PATIENCE)
        message = heard.get(timeout=PATIENCE)
        assert (message.topic, message.qos, message.payload) == (f"paho/{qos}", qos, body), message.topic
        if properties:
            assert message.properties.ContentType == "application/cbor"
            assert message.properties.UserProperty == [("unit", "mm")]
            assert message.properties.CorrelationData == b"\x00\x01"
    for client in (listener, speaker):
        client.disconnect()
        client.loop_stop()
print("HEARD ALL")
