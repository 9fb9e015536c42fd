"""A Flask app whose requirements name no server."""
from flask import Flask

app = Flask(__name__)


@app.get("/")
def root():
    return "never served"
