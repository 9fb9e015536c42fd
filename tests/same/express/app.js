// What express-generator and the guides show: a password before everything but the open part, static files behind it.
const express = require('express');
const path = require('path');
const basicAuth = require('express-basic-auth');
const app = express();
app.get('/', (req, res) => res.send(`hello from ${req.hostname} over ${req.protocol}`));
app.post('/echo', express.raw({ type: '*/*', limit: '2mb' }), (req, res) => res.type(req.get('Content-Type')).send(req.body));
app.get('/stream', (req, res) => {
  res.set('Content-Type', 'text/event-stream');
  let number = 0;
  const timer = setInterval(() => {
    res.write(`data: ${number++}\n\n`);
    if (number === 3) { clearInterval(timer); res.end(); }
  }, 300);
});
app.use(basicAuth({ users: { ann: 'secret' }, challenge: true }));
app.use(express.static(path.join(__dirname, 'public')));
app.listen(process.env.PORT || 3000);
