// Reads what it is sent and answers three bytes.
const server = require('http').createServer((request, response) => {
  request.resume();
  request.on('end', () => {
    response.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': 3 });
    response.end('ok\n');
  });
});
server.listen(process.env.PORT, '127.0.0.1');
