export const dynamic = 'force-dynamic';
export async function GET() {
  const lines = new ReadableStream({
    async start(controller) {
      for (let number = 0; number < 3; number++) {
        controller.enqueue(new TextEncoder().encode(`data: ${number}\n\n`));
        await new Promise((done) => setTimeout(done, 300));
      }
      controller.close();
    },
  });
  return new Response(lines, { headers: { 'Content-Type': 'text/event-stream' } });
}
