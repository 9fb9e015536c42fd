# Reads what it is sent and answers three bytes.
run(lambda do |env|
  env["rack.input"]&.read
  [200, { "content-type" => "text/plain", "content-length" => "3" }, ["ok\n"]]
end)
