"""An LwM2M 1.0/1.1 device, scripted on aiocoap. See tests/harness/lwm2m.rs for what it prints and takes."""

import argparse
import asyncio
import json
import os
import sys

# One socket for both roles, as a device has.
os.environ.setdefault("AIOCOAP_CLIENT_TRANSPORT", "udp6")
os.environ.setdefault("AIOCOAP_SERVER_TRANSPORT", "udp6")

import aiocoap
from aiocoap import resource
from aiocoap.numbers.codes import Code

TEXT, LINK, SENML_JSON, TLV = 0, 40, 110, 11542

# Values by path; type as in the OMA registry.
values = {
    "1/0/0": 123, "1/0/1": 300, "1/0/7": "U",
    "3/0/0": "Tidegate tests", "3/0/1": "aiocoap", "3/0/2": "0001", "3/0/9": 87, "3/0/14": "+00:00",
}
executable = {"3/0/4", "1/0/8"}
observers = {}


def say(*words):
    print(*words, flush=True)


def tlv(identifier, value):
    """One resource with a value, OMA-TS-LightweightM2M_Core 7.4.3."""
    raw = value.encode() if isinstance(value, str) else value.to_bytes(1 if -128 <= value < 128 else 4, "big", signed=True)
    kind = 0b11000000 | (len(raw) if len(raw) < 8 else 0b1000)
    return bytes([kind, identifier]) + (b"" if len(raw) < 8 else bytes([len(raw)])) + raw


def below(path):
    return {key: value for key, value in values.items() if key == path or key.startswith(path + "/")}


def encode(path, accept, default):
    found = below(path)
    single = path in values
    form = accept if accept is not None else {"text": TEXT, "tlv": TLV, "senml": SENML_JSON}[default]
    if form == TEXT and not single:
        form = TLV
    if form == TEXT:
        return TEXT, str(found[path]).encode()
    if form == SENML_JSON:
        base = "/" + (path.rsplit("/", 1)[0] if single else path) + "/"
        pack = [{"n": "/" + key, "vs" if isinstance(value, str) else "v": value} for key, value in found.items()]
        for record in pack:
            record["n"] = record["n"].removeprefix(base)
        pack[0] = {"bn": base, **pack[0]}
        return SENML_JSON, json.dumps(pack).encode()
    if form == TLV:
        return TLV, b"".join(tlv(int(key.split("/")[2]), value) for key, value in found.items())
    return None, None


def decode(path, form, payload):
    """Yields path and value of what is written."""
    if form in (None, TEXT):
        yield path, payload.decode()
    elif form == SENML_JSON:
        base = ""
        for record in json.loads(payload):
            base = record.get("bn", base)
            yield (base + record.get("n", "")).strip("/"), record.get("v", record.get("vs", record.get("vb")))
    elif form == TLV:
        while payload:
            kind, at = payload[0], 1
            wide = 2 if kind & 0b100000 else 1
            identifier = int.from_bytes(payload[at:at + wide], "big")
            at += wide
            size = (kind >> 3) & 0b11
            length = int.from_bytes(payload[at:at + size], "big") if size else kind & 0b111
            at += size
            raw, payload = payload[at:at + length], payload[at + length:]
            key = path if path.count("/") == 2 else f"{path}/{identifier}"
            old = values.get(key)
            yield key, int.from_bytes(raw, "big", signed=True) if isinstance(old, int) else raw.decode()
    else:
        raise ValueError(form)


class Object(resource.ObservableResource):
    def __init__(self, number, default):
        super().__init__()
        self.number, self.default = number, default

    def path(self, request):
        return "/".join((str(self.number), *request.opt.uri_path))

    async def add_observation(self, request, observation):
        path = self.path(request)
        observers.setdefault(path, []).append(observation)
        say("OBSERVE", path)

        def cancelled():
            observers[path].remove(observation)
            say("CANCEL", path)

        observation.accept(cancelled)

    async def render_get(self, request):
        path = self.path(request)
        if not below(path):
            return aiocoap.Message(code=Code.NOT_FOUND)
        accept = request.opt.accept
        if accept == LINK:
            links = ",".join(f"</{key}>" for key in dict.fromkeys([path, *below(path)]))
            return aiocoap.Message(payload=links.encode(), content_format=LINK)
        say("READ", path, accept)
        form, payload = encode(path, accept, self.default)
        if form is None:
            return aiocoap.Message(code=Code.NOT_ACCEPTABLE)
        return aiocoap.Message(payload=payload, content_format=form)

    async def render_put(self, request):
        path = self.path(request)
        if not request.payload and request.opt.uri_query:
            say("ATTRIBUTES", path, "&".join(request.opt.uri_query))
            return aiocoap.Message(code=Code.CHANGED)
        try:
            for key, value in decode(path, request.opt.content_format, request.payload):
                values[key] = int(value) if isinstance(values.get(key), int) else value
                say("WRITE", key, value)
        except ValueError:
            return aiocoap.Message(code=Code.UNSUPPORTED_CONTENT_FORMAT)
        return aiocoap.Message(code=Code.CHANGED)

    async def render_post(self, request):
        path = self.path(request)
        if path not in executable:
            return aiocoap.Message(code=Code.METHOD_NOT_ALLOWED)
        say("EXECUTE", path, request.payload.decode())
        return aiocoap.Message(code=Code.CHANGED)


class Tree(Object, resource.PathCapable):
    """What is below the object; aiocoap gives the object itself to a resource of its own."""


async def ask(context, code, uri, payload=b"", **options):
    request = aiocoap.Message(code=code, uri=uri, payload=payload, **options)
    return await asyncio.wait_for(context.request(request).response, 20)


async def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--format", choices=["text", "tlv", "senml"], default="tlv")
    arguments.add_argument("endpoint")
    arguments.add_argument("port", type=int)
    arguments.add_argument("lifetime", type=int)
    chosen = arguments.parse_args()
    site = resource.Site()
    for number in (1, 3):
        for kind in (Object, Tree):
            site.add_resource([str(number)], kind(number, chosen.format))
    context = await aiocoap.Context.create_server_context(site, bind=("::ffff:127.0.0.1", 0))
    server = f"coap://127.0.0.1:{chosen.port}"
    values["1/0/1"] = chosen.lifetime
    answer = await ask(
        context, Code.POST, f"{server}/rd?ep={chosen.endpoint}&lt={chosen.lifetime}&lwm2m=1.1&b=U",
        b"</>;rt=\"oma.lwm2m\";ct=110,</1/0>,</3/0>", content_format=LINK)
    if answer.code != Code.CREATED:
        sys.exit(f"REFUSED {answer.code} {answer.payload!r}")
    location = "/".join(answer.opt.location_path)
    say("REGISTERED", location)
    await obey(context, server, location)


async def obey(context, server, location):
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        word, *rest = line.split()
        if word == "set":
            path, value = rest
            values[path] = int(value) if isinstance(values.get(path), int) else value
            for observation in observers.get(path, []):
                observation.trigger()
            say("SET", path, value)
        elif word == "update":
            query = f"?lt={rest[0]}" if rest else ""
            say("UPDATED", (await ask(context, Code.POST, f"{server}/{location}{query}")).code)
        elif word == "deregister":
            say("DEREGISTERED", (await ask(context, Code.DELETE, f"{server}/{location}")).code)
        elif word == "die":
            os._exit(0)
    os._exit(0)


asyncio.run(main())
