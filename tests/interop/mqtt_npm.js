// npm mqtt: `mqtt_npm.js URL VERSION sub TOPIC COUNT [ID]` or `mqtt_npm.js URL VERSION pub TOPIC PAYLOAD QOS`.
'use strict';

const mqtt = require('mqtt');

const [url, version, verb, topic, value, last] = process.argv.slice(2);
const options = { protocolVersion: Number(version), reconnectPeriod: 0, connectTimeout: 10000 };
if (verb === 'sub' && last) options.clientId = last;
// It takes topic aliases, and shows the topics they stand for.
if (version === '5') options.properties = { topicAliasMaximum: 4 };
const client = mqtt.connect(url, options);
const fail = (error) => { console.error('FAILED', error); process.exit(1); };

client.on('error', fail);
client.on('disconnect', (packet) => {
  const elsewhere = (packet.properties || {}).serverReference;
  console.log('DISCONNECT', packet.reasonCode, ...(elsewhere ? ['to', elsewhere] : []));
});
client.on('close', () => console.log('CLOSED'));
client.on('connect', () => {
  console.log('CONNECTED');
  if (verb === 'pub') {
    const properties = version === '5' ? { contentType: 'text/plain', userProperties: { site: 'ws' } } : undefined;
    client.publish(topic, value, { qos: Number(last), properties }, (error) => (error ? fail(error) : client.end()));
    return;
  }
  let left = Number(value);
  client.on('message', (name, payload, packet) => {
    console.log('MESSAGE', name, packet.qos, (packet.properties || {}).contentType || '-', payload.toString());
    const alias = (packet.properties || {}).topicAlias;
    if (alias) console.log('ALIAS', alias, 'of', name);
    left -= 1;
    if (left === 0) client.end();
  });
  client.subscribe(topic, { qos: 2 }, (error, granted) => (error ? fail(error) : console.log('SUBSCRIBED', granted[0].qos)));
});
