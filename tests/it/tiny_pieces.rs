//! Bodies in the smallest pieces that there are: they cost no more system calls, and no more bytes, than others.

use std::fs;

use crate::bytes::{pattern, receipt};
use crate::site::Site;
use crate::wire::{self, Wire, hex};

const APP: &str = "bind = \"unix\"\nprobation = \"1ms\"\n";
const DATA: usize = 512 * 1024;

/// Writes of the server so far, in number (proc(5), io).
fn writes(site: &Site) -> u64 {
    let io = fs::read_to_string(format!("/proc/{}/io", site.pid())).unwrap();
    io.lines().find_map(|line| line.strip_prefix("syscw: ")).unwrap().parse().unwrap()
}

fn in_chunks_of_one(data: &[u8]) -> Vec<u8> {
    let mut body: Vec<u8> = data.iter().flat_map(|byte| [b'1', b'\r', b'\n', *byte, b'\r', b'\n']).collect();
    body.extend_from_slice(b"0\r\n\r\n");
    body
}

#[test]
fn a_body_in_chunks_of_one_byte_is_gathered_before_it_is_written() {
    for keys in ["", "buffer.request = false"] {
        let site = Site::start(&format!("{APP}{keys}"));
        let data = pattern(0, DATA);
        let mut wire = Wire::connect(site.addr).unwrap();
        let before = writes(&site);
        wire.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        wire.send(&in_chunks_of_one(&data)).unwrap();
        assert_eq!(wire.reply(false).unwrap().text(), receipt(&data));
        let written = writes(&site) - before;
        assert!(written < DATA as u64 / 100, "{written} writes with {keys:?}");
    }
}

/// As a client that does not wait for its system to send more at once.
#[test]
fn what_comes_byte_by_byte_behind_a_large_beginning_is_gathered_too() {
    let site = Site::start(APP);
    let data = pattern(0, 200_000);
    let (large, small) = data.split_at(190_000);
    let mut wire = Wire::connect(site.addr).unwrap();
    wire.send(format!("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", data.len()).as_bytes()).unwrap();
    wire.send(large).unwrap();
    let before = writes(&site);
    for byte in small {
        wire.send(&[*byte]).unwrap();
    }
    assert_eq!(wire.reply(false).unwrap().text(), receipt(&data));
    let written = writes(&site) - before;
    assert!(written < small.len() as u64 / 10, "{written} writes");
}

#[test]
fn an_answer_in_chunks_of_one_byte_reaches_its_client_in_larger_ones() {
    let site = Site::start(APP);
    let head = hex(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    let target = format!("/raw?hex={head}.0.{}x100000.0.{}", hex(b"1\r\nx\r\n"), hex(b"0\r\n\r\n"));
    let request = format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let answer = wire::raw(site.addr, request.as_bytes()).unwrap();
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.matches('x').count(), 100_000);
    assert!(answer.len() < 120_000, "{} bytes", answer.len());
}
