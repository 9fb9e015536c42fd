// An app that nothing says how to start.
require('http').createServer((request, response) => response.end('never served')).listen(process.env.PORT);
