//! Rolling restart, first start, crash repair and stopping as one question: given the table, what is the next thing to do?
