<?php
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if ($path === '/') { echo "hello from {$_SERVER['HTTP_HOST']}\n"; return; }
if ($path === '/echo') { header('Content-Type: ' . $_SERVER['CONTENT_TYPE']); echo file_get_contents('php://input'); return; }
if ($path === '/private') {
    if (($_SERVER['PHP_AUTH_USER'] ?? '') !== 'ann' || $_SERVER['PHP_AUTH_PW'] !== 'secret') {
        http_response_code(401); header('WWW-Authenticate: Basic realm="site"'); echo "who are you?\n"; return;
    }
    echo "hello ann\n"; return;
}
if ($path === '/stream') {
    header('Content-Type: text/event-stream');
    for ($number = 0; $number < 3; $number++) { echo "data: $number\n\n"; flush(); usleep(300000); }
    return;
}
http_response_code(404); echo "nothing at $path\n";
