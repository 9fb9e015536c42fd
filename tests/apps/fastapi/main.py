"""/ tells what the server made of the forwarded fields."""
from fastapi import FastAPI, Request

app = FastAPI()


@app.get("/")
def root(request: Request):
    return {"scheme": request.url.scheme, "client": request.client and request.client.host}
