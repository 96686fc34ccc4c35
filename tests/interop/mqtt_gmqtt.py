"""gmqtt: publishes and hears itself over TCP, at every QoS. `mqtt_gmqtt.py VERSION PORT`."""

import asyncio
import sys

from gmqtt import Client
from gmqtt.mqtt.constants import MQTTv50, MQTTv311

PATIENCE = 15
version = {"311": MQTTv311, "5": MQTTv50}[sys.argv[1]]
port = int(sys.argv[2])


async def main():
    client = Client(f"gmqtt-{sys.argv[1]}", clean_session=True)
    granted, heard = asyncio.Queue(), asyncio.Queue()
    client.on_subscribe = lambda client, mid, qos, properties: granted.put_nowait(list(qos))
    client.on_message = lambda client, topic, payload, qos, properties: heard.put_nowait((topic, payload, qos, properties)) or 0
    await client.connect("127.0.0.1", port, keepalive=20, version=version)
    client.subscribe("gmqtt/+", qos=2)
    assert await asyncio.wait_for(granted.get(), PATIENCE) == [2]
    for qos in (0, 1, 2):
        body = bytes(range(256)) * (qos * 300 + 1)
        properties = {"content_type": "application/cbor", "user_property": ("unit", "mm")} if sys.argv[1] == "5" else {}
        client.publish(f"gmqtt/{qos}", body, qos=qos, **properties)
        topic, payload, heard_qos, heard_properties = await asyncio.wait_for(heard.get(), PATIENCE)
        assert (topic, payload, heard_qos) == (f"gmqtt/{qos}", body, qos), (topic, heard_qos)
        if properties:
            assert heard_properties["content_type"] == ["application/cbor"], heard_properties
            assert heard_properties["user_property"] == [("unit", "mm")], heard_properties
    await client.disconnect()
    print("HEARD ALL")


asyncio.run(main())
