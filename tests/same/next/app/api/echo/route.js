export async function POST(request) {
  return new Response(await request.arrayBuffer(), { headers: { 'Content-Type': request.headers.get('content-type') } });
}
