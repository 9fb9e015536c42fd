import base64
import time

from django.contrib import admin
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt


def home(request):
    return HttpResponse(f"hello from {request.get_host()} over {request.scheme}, you are {request.META['REMOTE_ADDR'] or '127.0.0.1'}\n")


@csrf_exempt
def echo(request):
    return HttpResponse(request.body, content_type=request.content_type)


def private(request):
    given = request.headers.get("Authorization", "")
    if given != "Basic " + base64.b64encode(b"ann:secret").decode():
        return HttpResponse("who are you?\n", status=401, headers={"WWW-Authenticate": 'Basic realm="site"'})
    return HttpResponse("hello ann\n")


def stream(request):
    def lines():
        for number in range(3):
            yield f"data: {number}\n\n"
            time.sleep(0.3)

    return StreamingHttpResponse(lines(), content_type="text/event-stream")


urlpatterns = [
    path("", home), path("echo", echo), path("private", private), path("stream", stream), path("admin/", admin.site.urls),
]
