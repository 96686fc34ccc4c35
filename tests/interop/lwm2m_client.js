// An LwM2M 1.0 device on npm lwm2m-node-lib. See tests/harness/lwm2m.rs for what it prints and takes.
'use strict';

const lwm2m = require('lwm2m-node-lib');
const readline = require('readline');

const [endpoint, port, lifetime] = process.argv.slice(2);
const client = lwm2m.client;
const say = (...words) => console.log(words.join(' '));
const fail = (error) => { console.error('FAILED', error); process.exit(1); };

client.init({
  client: { ipProtocol: 'udp4', serverProtocol: 'udp4', port: 0, lifetime, version: '1.0', logLevel: 'ERROR', observe: { period: 3000 } },
});

let device;

function register() {
  client.register('127.0.0.1', port, '', endpoint, (error, info) => {
    if (error) return fail(error);
    device = info;
    const written = (object, instance, resource, value, done) => {
      say('WRITE', `${object}/${instance}/${resource}`, value);
      client.registry.setResource(`/${object}/${instance}`, resource, value, () => done(null));
    };
    const executed = (object, instance, resource, value, done) => {
      say('EXECUTE', `${object}/${instance}/${resource}`);
      done(null);
    };
    const read = (object, instance, resource, value, done) => done(null, value);
    client.setHandler(info.serverInfo, 'write', written);
    client.setHandler(info.serverInfo, 'execute', executed);
    client.setHandler(info.serverInfo, 'read', read);
    say('REGISTERED', info.location);
  });
}

// One after the other: the registry is asynchronous.
const start = [
  (next) => client.registry.create('/3/0', next),
  (next) => client.registry.setResource('/3/0', '0', 'Tidegate tests', next),
  (next) => client.registry.setResource('/3/0', '4', '', next),
  (next) => client.registry.setResource('/3/0', '9', '87', next),
  (next) => client.registry.setResource('/3/0', '14', '+00:00', next),
];
(function step(at) {
  if (at === start.length) return register();
  start[at]((error) => (error ? fail(error) : step(at + 1)));
})(0);

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const [word, path, value] = line.split(' ');
  if (word === 'set') {
    const [object, instance, resource] = path.split('/');
    client.registry.setResource(`/${object}/${instance}`, resource, value, () => say('SET', path, value));
  } else if (word === 'update') {
    // OMA LwM2M 1.0 section 5.3.2: who is not known any more registers again.
    client.update(device, (error) => (error ? register() : say('UPDATED')));
  } else if (word === 'deregister') {
    client.unregister(device, (error) => (error ? fail(error) : say('DEREGISTERED')));
  } else if (word === 'die') {
    process.exit(0);
  }
}).on('close', () => process.exit(0));
