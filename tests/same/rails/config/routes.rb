Rails.application.routes.draw do
  root "pages#home"
  post "/echo", to: "pages#echo"
  get "/private", to: "pages#private_page"
  get "/stream", to: "pages#stream"
end
