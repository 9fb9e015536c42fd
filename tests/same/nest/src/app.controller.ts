import { Body, Controller, Get, Header, Headers, HttpCode, HttpException, Post, Sse, MessageEvent } from '@nestjs/common';
import { Observable, interval, map, take } from 'rxjs';

@Controller()
export class AppController {
  @Get()
  home(@Headers('host') host: string): string {
    return `hello from ${host}`;
  }

  @Post('echo')
  @HttpCode(200)
  echo(@Body() body: unknown): unknown {
    return body;
  }

  @Get('private')
  @Header('Cache-Control', 'no-store')
  private(@Headers('authorization') given: string): string {
    if (given !== 'Basic ' + btoa('ann:secret')) throw new HttpException('who are you?', 401);
    return 'hello ann';
  }

  @Sse('stream')
  stream(): Observable<MessageEvent> {
    return interval(300).pipe(take(3), map((number) => ({ data: { number } })));
  }
}
