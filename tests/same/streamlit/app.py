import streamlit as st

st.title("site")
st.write("hello", st.text_input("your name"))
