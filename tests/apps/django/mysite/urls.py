"""/ names the interface that the server uses."""
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse
from django.urls import path


def interface(request):
    return HttpResponse("asgi" if isinstance(request, ASGIRequest) else "wsgi")


urlpatterns = [path("", interface)]
