// Answers with the name of the script that npm runs.
require('http')
  .createServer((request, response) => response.end(process.env.npm_lifecycle_event))
  .listen(process.env.PORT, process.env.HOST);
