export async function GET(request) {
  if (request.headers.get('authorization') !== 'Basic ' + btoa('ann:secret')) {
    return new Response('who are you?', { status: 401, headers: { 'WWW-Authenticate': 'Basic realm="site"' } });
  }
  return new Response('hello ann');
}
