// A page in headless Chromium that speaks MQTT over WebSocket: `browser.js CHROMIUM PROFILE URL VERSION`.
// Prints what the page tells. Ends, and Chromium with it, when standard input is closed.
'use strict';

const { spawn } = require('child_process');
const fs = require('fs');
const http = require('http');
const path = require('path');

const [chromium, profile, broker, version] = process.argv.slice(2);
const files = {
  '/': ['text/html', path.join(__dirname, 'browser.html')],
  '/mqtt.js': ['text/javascript', path.join(process.env.NODE_PATH, 'mqtt/dist/mqtt.min.js')],
};

const server = http.createServer((request, response) => {
  const { pathname } = new URL(request.url, 'http://page');
  if (request.method === 'POST' && pathname === '/report') {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => { console.log(Buffer.concat(chunks).toString()); response.end(); });
    return;
  }
  const [type, file] = files[pathname] || [];
  response.writeHead(file ? 200 : 404, { 'Content-Type': type || 'text/plain' });
  response.end(file ? fs.readFileSync(file) : '');
});

server.listen(0, '127.0.0.1', () => {
  const query = new URLSearchParams({ broker, version });
  const page = `http://127.0.0.1:${server.address().port}/?${query}`;
  const browser = spawn(chromium, [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-extensions',
    // Chromium ends when this pipe is closed, so it does not outlive this process.
    '--remote-debugging-pipe', `--user-data-dir=${profile}`, page,
  ], { stdio: ['ignore', 'ignore', 'inherit', 'pipe', 'pipe'] });
  browser.on('exit', (code) => { console.log('BROWSER ENDED', code); server.close(); process.exit(1); });
  browser.on('error', (error) => { console.log('BROWSER', error.message); process.exit(1); });
  process.stdin.on('end', () => {
    browser.removeAllListeners('exit');
    browser.on('exit', () => process.exit(0));
    browser.kill();
  });
  process.stdin.resume();
});
