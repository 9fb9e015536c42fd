// Answers with what stands behind --greeting.
require('http')
  .createServer((request, response) => response.end(process.argv[process.argv.indexOf('--greeting') + 1]))
  .listen(process.env.PORT, process.env.HOST);
