// A visitor who keeps cookies: says something and hears it, by long polling alone, by WebSocket alone, and as browsers do (polling first).
const { io } = require('socket.io-client');
async function talk(transports) {
  const socket = io(process.argv[2], { transports, reconnection: false, timeout: 20000, withCredentials: true });
  await new Promise((done, fail) => { socket.on('connect', done); socket.on('connect_error', fail); });
  const heard = new Promise((done) => socket.on('chat message', done));
  socket.emit('chat message', `hello by ${transports}`);
  console.log(`heard: ${await heard}`);
  socket.close();
}
(async () => {
  for (const transports of [['polling'], ['websocket'], ['polling', 'websocket']]) await talk(transports);
})().catch((error) => { console.log(`failed: ${error.message}`); process.exit(1); });
