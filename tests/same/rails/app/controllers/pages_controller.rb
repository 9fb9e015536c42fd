class PagesController < ActionController::Base
  include ActionController::Live
  skip_forgery_protection
  http_basic_authenticate_with name: "ann", password: "secret", only: :private_page

  def home
    render plain: "hello from #{request.host} over #{request.protocol}"
  end

  def echo
    render body: request.raw_post, content_type: request.content_type
  end

  def private_page
    render plain: "hello ann"
  end

  def stream
    response.headers["Content-Type"] = "text/event-stream"
    response.headers["Last-Modified"] = "Thu, 01 Jan 1970 00:00:00 GMT"
    3.times { |number| response.stream.write("data: #{number}\n\n"); sleep 0.3 }
  ensure
    response.stream.close
  end
end
