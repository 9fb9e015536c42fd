// A node app: its version, a slow answer, and the checksum of what it is sent.
const fs = require('fs');
const http = require('http');
const path = require('path');

const VERSION = fs.readFileSync(path.join(__dirname, 'VERSION'), 'utf8').trim();
const PATTERN = Buffer.alloc(1 << 20);
for (let i = 0; i < PATTERN.length; i++) PATTERN[i] = (i * 7 + (i >> 8) * 13 + (i >> 16) * 29) & 255;

const TABLE = new Uint32Array(256).map((_, i) => {
  let value = i;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://app');
  const answer = (body) => {
    response.setHeader('X-Version', VERSION);
    response.setHeader('Content-Length', Buffer.byteLength(body));
    response.end(body);
  };
  if (url.pathname === '/') return answer(VERSION);
  if (url.pathname === '/sleep') return setTimeout(answer, Number(url.searchParams.get('ms') ?? 800), VERSION);
  if (url.pathname === '/bytes') return answer(PATTERN.subarray(0, Number(url.searchParams.get('n'))));
  if (url.pathname === '/echo') {
    let length = 0;
    let checksum = 0xffffffff;
    request.on('data', (piece) => {
      length += piece.length;
      for (const byte of piece) checksum = TABLE[(checksum ^ byte) & 255] ^ (checksum >>> 8);
    });
    request.on('end', () => answer(`${length} ${((checksum ^ 0xffffffff) >>> 0).toString(16).padStart(8, '0')}\n`));
    return undefined;
  }
  response.statusCode = 404;
  return answer('no such path\n');
});
server.listen(process.env.PORT, process.env.HOST);
