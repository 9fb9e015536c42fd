# A Rack app: its version, a slow answer, and the checksum of what it is sent.
require "zlib"

VERSION = File.read(File.join(__dir__, "VERSION")).strip
PATTERN = (0...(1 << 20)).map { |i| (i * 7 + (i >> 8) * 13 + (i >> 16) * 29) & 255 }.pack("C*")

run(lambda do |env|
  query = env["QUERY_STRING"].split("&").to_h { |pair| pair.split("=", 2) }
  body =
    case env["PATH_INFO"]
    when "/" then VERSION
    when "/sleep"
      sleep(query.fetch("ms", "800").to_i / 1000.0)
      VERSION
    when "/bytes" then PATTERN[0, query["n"].to_i]
    when "/echo"
      length, checksum = 0, 0
      while (piece = env["rack.input"].read(65_536))
        length += piece.bytesize
        checksum = Zlib.crc32(piece, checksum)
      end
      format("%d %08x\n", length, checksum)
    end
  if body
    [200, { "content-type" => "text/plain", "x-version" => VERSION, "content-length" => body.bytesize.to_s }, [body]]
  else
    [404, { "content-type" => "text/plain" }, ["no such path\n"]]
  end
end)
