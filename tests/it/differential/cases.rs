//! The inputs, by row of the hardening notes (tests/hardening.md): what is sent, and for section 7 what the app answers.

use super::recorder::Answer;

/// One input. Its name is its row and its place among those of the row: new ones go to the end of their row.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub row: String,
    pub request: Vec<u8>,
    pub answer: Option<Answer>,
    /// Nothing comes behind it but the end of the client's stream; else a marker request does.
    pub ends: bool,
}

impl Case {
    /// A body that ends too soon: what there is of it comes before the end of the stream.
    pub fn is_cut(&self) -> bool {
        self.row == "4.16"
    }

    /// What the table shows of it.
    pub fn shown(&self) -> String {
        let bytes = self.answer.as_ref().map_or(&self.request, |answer| &answer.bytes);
        let mut shown = String::new();
        for byte in bytes {
            match byte {
                b'\\' | b'\r' | b'\n' | b'\t' => shown.extend(std::ascii::escape_default(*byte).map(char::from)),
                // Of the table, and of its code spans.
                b'|' | b'`' => shown += &format!("\\x{byte:02x}"),
                0x20..=0x7e => shown.push(char::from(*byte)),
                _ => shown += &format!("\\x{byte:02x}"),
            }
        }
        shown = shown.replace("\\r\\nHost: test\\r\\n", "\\r\\nH");
        if shown.len() > 150 {
            shown = format!("{} ... {} bytes", &shown[..120], bytes.len());
        }
        let request = String::from_utf8_lossy(self.request.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned();
        match &self.answer {
            Some(answer) => format!(
                "{}{shown}{}",
                if request.starts_with("GET") { "" } else { "(to HEAD) " },
                if answer.closes { " (FIN)" } else { "" }
            ),
            None => format!("{shown}{}", if self.ends { " (FIN)" } else { "" }),
        }
    }
}

/// All of them.
pub fn all() -> Vec<Case> {
    let mut cases = Cases::default();
    request_lines(&mut cases);
    targets_and_hosts(&mut cases);
    fields(&mut cases);
    lengths(&mut cases);
    chunks(&mut cases);
    connections(&mut cases);
    owned(&mut cases);
    answers(&mut cases);
    cases.all
}

#[derive(Default)]
struct Cases {
    all: Vec<Case>,
}

impl Cases {
    fn put(&mut self, row: &str, request: Vec<u8>, answer: Option<Answer>, ends: bool) {
        let place = self.all.iter().filter(|case| case.row == row).count() + 1;
        self.all.push(Case { name: format!("{row}.{place}"), row: row.to_owned(), request, answer, ends });
    }

    fn raw(&mut self, row: &str, requests: &[&[u8]]) {
        requests.iter().for_each(|request| self.put(row, request.to_vec(), None, false));
    }

    /// Request lines, each before the Host and an empty line.
    fn lines(&mut self, row: &str, lines: &[&[u8]]) {
        lines.iter().for_each(|line| self.put(row, [line, &b"\r\nHost: test\r\n\r\n"[..]].concat(), None, false));
    }

    /// Targets of a GET.
    fn targets(&mut self, row: &str, targets: &[&[u8]]) {
        targets.iter().for_each(|target| self.lines(row, &[&[&b"GET "[..], target, b" HTTP/1.1"].concat()]));
    }

    /// Field lines of a GET, without their CRLF.
    fn get(&mut self, row: &str, fields: &[&[u8]]) {
        fields.iter().for_each(|field| self.put(row, [b"GET / HTTP/1.1\r\nHost: test\r\n", *field, b"\r\n\r\n"].concat(), None, false));
    }

    /// Field lines of a POST, before a body that is one of both framings.
    fn post(&mut self, row: &str, fields: &[&[u8]]) {
        for field in fields {
            self.put(row, [b"POST / HTTP/1.1\r\nHost: test\r\n", *field, b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"].concat(), None, false);
        }
    }

    /// Chunked bodies.
    fn chunked(&mut self, row: &str, bodies: &[&[u8]]) {
        for body in bodies {
            self.put(row, [b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n", *body].concat(), None, false);
        }
    }

    fn answer(&mut self, row: &str, method: &str, answers: &[&[u8]], closes: bool) {
        for bytes in answers {
            let request = format!("{method} /answer HTTP/1.1\r\nHost: test\r\n\r\n").into_bytes();
            self.put(row, request, Some(Answer { bytes: bytes.to_vec(), closes }), false);
        }
    }
}

fn request_lines(cases: &mut Cases) {
    cases.lines(
        "2.1",
        &[b"GET  / HTTP/1.1", b"GET /  HTTP/1.1", b"GET\t/ HTTP/1.1", b"GET /\tHTTP/1.1", b" GET / HTTP/1.1", b"\tGET / HTTP/1.1"],
    );
    cases.lines(
        "2.1",
        &[b"GET / HTTP/1.1 ", b"GET / HTTP/1.1\t", b"GET / x HTTP/1.1", b"GET /\x0bHTTP/1.1", b"GET\x0c/ HTTP/1.1", b"GET /\xa0HTTP/1.1"],
    );
    cases.lines(
        "2.2",
        &[
            b"get / HTTP/1.1",
            b"Get / HTTP/1.1",
            b"PURGE / HTTP/1.1",
            b"M-SEARCH / HTTP/1.1",
            b"QUERY / HTTP/1.1",
            b"X!#$%&'*+.^_~1 / HTTP/1.1",
        ],
    );
    cases.lines(
        "2.2",
        &[
            b"G\xc3\x84T / HTTP/1.1",
            b"G(T / HTTP/1.1",
            b"G\x00T / HTTP/1.1",
            b"G:T / HTTP/1.1",
            b"\"GET\" / HTTP/1.1",
            b"GET\x7f / HTTP/1.1",
            b"/ HTTP/1.1",
        ],
    );
    cases.lines(
        "2.2",
        &[
            b"PATCH / HTTP/1.1",
            b"OPTIONS / HTTP/1.1",
            b"DELETE / HTTP/1.1",
            b"PROPFIND / HTTP/1.1",
            b"HEAD / HTTP/1.1",
            b"HEADER / HTTP/1.1",
        ],
    );
    cases.lines("2.2", &[b"MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM / HTTP/1.1", b"GETGET / HTTP/1.1"]);
    cases.raw("2.2", &[b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"]);
    cases.raw(
        "2.3",
        &[
            b"CONNECT test:80 HTTP/1.1\r\nHost: test:80\r\n\r\n",
            b"CONNECT / HTTP/1.1\r\nHost: test\r\n\r\n",
            b"CONNECT test:80 HTTP/1.1\r\nHost: test:80\r\nContent-Length: 5\r\n\r\nhello",
        ],
    );
    cases.lines("2.4", &[b"TRACE / HTTP/1.1", b"TRACK / HTTP/1.1"]);
    cases.lines(
        "2.5",
        &[
            b"GET / HTTP/1",
            b"GET / HTTP/1.01",
            b"GET / HTTP/01.1",
            b"GET / HTTP/1.1x",
            b"GET / http/1.1",
            b"GET / HTTP1.1",
            b"GET / ICY/1.1",
            b"GET / HTTP/ 1.1",
        ],
    );
    cases.lines(
        "2.5",
        &[
            b"GET / HTTP/2.0",
            b"GET / HTTP/3.7",
            b"GET / HTTP/0.9",
            b"GET / HTTP/1.2",
            b"GET / HTTP/1.10",
            b"GET / HTTP/11.1",
            b"GET / HTTP/4294967297.1",
            b"GET / HTTP/1,1",
            b"GET / HTTP/+1.1",
            b"GET / HTTP/1.-1",
        ],
    );
    cases.raw("2.5", &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]);
    cases.raw("2.6", &[b"GET /\r\n\r\n", b"GET /\r\n", b"GET\r\n\r\n", b"GET / \r\n\r\n", b"GET /\n\n", b"GET /x\nHost: test\r\n\r\n"]);
    for count in [7000, 8100, 9000, 15_000, 40_000] {
        cases.targets("2.7", &[&[b"/", "x".repeat(count).as_bytes()].concat()]);
    }
    cases.targets(
        "2.8",
        &[
            b"/\x00",
            b"/\x01",
            b"/\x0b",
            b"/\x7f",
            b"/\xff",
            b"/\xc3\xa4",
            b"/\xa0",
            b"/\rX",
            b"/\nX",
            b"/%00",
            b"/%",
            b"/%g0",
            b"/%2",
            b"/a%0d%0aX",
        ],
    );
    cases.targets("2.8", &[b"/\"", b"/<>", b"/{}", b"/|", b"/\\", b"/^", b"/`", b"/[]", b"/'", b"/a\\..\\b"]);
    cases.targets(
        "2.9",
        &[
            b"/a/../b",
            b"/./a",
            b"//a//b",
            b"/a/%2e%2e/b",
            b"/%2fa",
            b"/A%41a",
            b"/a;b=c",
            b"/?",
            b"/??",
            b"/a?b=c&d=/../e",
            b"/..",
            b"/../../etc/passwd",
            b"/a/.",
            b"/a+b%20c",
            b"//",
            b"///evil.example/x",
        ],
    );
    cases.targets("2.10", &[b"/a#b", b"/index.html#.png", b"/a?b#c", b"/#", b"#"]);
}

fn targets_and_hosts(cases: &mut Cases) {
    cases.targets(
        "2.11",
        &[
            b"http://test/",
            b"http://test/a?b",
            b"http://other/",
            b"http://test",
            b"http://test?x",
            b"HTTP://test/",
            b"http://TEST/",
            b"http://test:80/",
            b"http://test:8080/",
            b"http://test//a",
        ],
    );
    cases.lines("2.11", &[b"OPTIONS http://test HTTP/1.1", b"POST http://other/a HTTP/1.1"]);
    cases.raw(
        "2.11",
        &[
            b"GET http://a/ HTTP/1.1\r\n\r\n",
            b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
            b"GET http://a/ HTTP/1.1\r\nHost: b/c\r\n\r\n",
            b"GET http://a/ HTTP/1.0\r\n\r\n",
            b"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n",
        ],
    );
    cases.targets("2.12", &[b"x", b"?x", b"test:80", b"*", b"*x", b"", b".", b"../x", b"test/", b"www.test/x", b":80", b"%2f", b";x"]);
    cases.lines(
        "2.12",
        &[b"OPTIONS * HTTP/1.1", b"POST * HTTP/1.1", b"OPTIONS *x HTTP/1.1", b"OPTIONS test:80 HTTP/1.1", b"HEAD * HTTP/1.1"],
    );
    cases.targets(
        "2.13",
        &[
            b"http:///x",
            b"http://user@test/",
            b"http://user:pass@test/",
            b"ftp://test/",
            b"http:/test/",
            b"http:test/",
            b"http://te st/",
            b"http://test\\@evil/",
            b"https://test/",
            b"ws://test/",
            b"http://",
            b"http://:80/",
            b"http://test:/",
            b"http://test:x/",
            b"http://[::1]/",
            b"http://[::1/",
            b"http://@test/",
            b"h2c://test/",
            b"://test/",
            b"http://test@evil/x",
            b"http://a,b/",
        ],
    );
    cases.raw(
        "2.14",
        &[
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nX: y\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: test\r\nHost: test\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n",
            b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: test\r\nX: y\r\nHost: other\r\n\r\n",
        ],
    );
    let hosts: &[&[u8]] = &[
        b"",
        b" ",
        b"a/b",
        b"a?b",
        b"a#b",
        b"u@a",
        b"a b",
        b"a, b",
        b"a\\b",
        b"a\x00",
        b"a:80:80",
        b"a:x",
        b"a:-1",
        b"a:",
        b"a:8080",
        b"a:0",
        b"a:65536",
        b"a:99999",
        b"a:080",
        b"[::1",
        b"[x]",
        b"[::1]",
        b"[::1]:80",
        b"::1",
        b"http://a",
        b"\xff",
        b"a%2Db",
        b"a!b",
        b"a_b",
        b"A",
        b"a.",
        b".a",
        b"a..b",
        b"-a",
        b"127.0.0.1",
        b"a\tb",
        b"a;b",
        b"a\"b",
        b"a'b",
        b"a<b>",
        b"a&b",
        b"(a)",
        b"a=b",
        b"*.a",
        b"[::ffff:1.2.3.4]",
        b"[v1.a]",
        b"a:+80",
        b"a: 80",
    ];
    for host in hosts {
        cases.put("2.15", [b"GET / HTTP/1.1\r\nHost: ", *host, b"\r\n\r\n"].concat(), None, false);
    }
    cases.raw(
        "2.16",
        &[
            b"GET / HTTP/1.0\r\n\r\n",
            b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            b"GET / HTTP/1.0\r\nHost: test\r\n\r\n",
            b"GET / HTTP/1.0\r\nHost:\r\n\r\n",
        ],
    );
}

fn fields(cases: &mut Cases) {
    cases.raw(
        "3.1",
        &[
            b"GET / HTTP/1.1\nHost: test\n\n",
            b"GET / HTTP/1.1\nHost: test\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: test\nX: y\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: test\r\nX: y\n\r\n",
            b"GET / HTTP/1.1\r\nHost: test\r\nX: y\r\n\n",
            b"GET / HTTP/1.1\r\nHost: test\r\n\n",
            b"GET / HTTP/1.1\r\nHost: test\nContent-Length: 5\n\nhello",
        ],
    );
    cases.get("3.2", &[b"X: a\rb", b"X: a\r", b"\rX: a", b"X\r: a", b"X:\ra", b"X: a\rTransfer-Encoding: chunked", b"\r"]);
    cases.raw(
        "3.2",
        &[b"GET / HTTP/1.1\rHost: test\r\r", b"GET / HTTP/1.1\r\r\nHost: test\r\n\r\n", b"GET / HTTP/1.1\r\nHost: test\r\n\rX\r\n\r\n"],
    );
    cases.get("3.3", &[b"X: a\x00b", b"X: \x00", b"X\x00: a", b"X: a\x00", b"\x00", b"X: a\nY: b"]);
    cases.get(
        "3.4",
        &[
            b"X: a\x01b",
            b"X: a\x08b",
            b"X: a\x0bb",
            b"X: a\x0cb",
            b"X: a\x1bb",
            b"X: a\x1fb",
            b"X: a\x7fb",
            b"X: a\tb",
            b"X:\ta\t",
            b"X: \x07",
        ],
    );
    cases.get("3.5", &[b"X: \x80", b"X: \xa0a\xa0", b"X: \x85", b"X: \xff", b"X: \xc3\xa4", b"X: \xe2\x80\xa8"]);
    cases
        .get("3.6", &[b"X : a", b"X\t: a", b"X  : a", b"Content-Length : 5", b"Transfer-Encoding : chunked", b"X\x0b: a", b"X\xc2\xa0: a"]);
    cases.raw("3.6", &[b"GET / HTTP/1.1\r\nHost : test\r\n\r\n"]);
    cases.get(
        "3.7",
        &[
            b": a",
            b":",
            b"X",
            b"X(: a",
            b"X Y: a",
            b"\x01X: a",
            b"X\xa0: a",
            b"X/Y: a",
            b"X[0]: a",
            b"X@: a",
            b"X\"Y\": a",
            b"{X}: a",
            b"X=1",
            b"X!#$%&'*+-.^`|~9: a",
            b"\xc3\xa4: a",
            b"X\x7f: a",
            b"X;: a",
            b"X,Y: a",
        ],
    );
    cases.get(
        "3.8",
        &[
            b"X: a\r\n b",
            b"X: a\r\n\tb",
            b"X: a\r\n ",
            b"X:\r\n a",
            b"X: a\r\n b: c",
            b"Transfer-Encoding:\r\n chunked",
            b"Content-Length:\r\n 5",
            b"X: a\r\n \r\n b",
        ],
    );
    cases.raw(
        "3.9",
        &[
            b"GET / HTTP/1.1\r\n Host: test\r\n\r\n",
            b"GET / HTTP/1.1\r\n\tX: a\r\nHost: test\r\n\r\n",
            b"GET / HTTP/1.1\r\n \r\nHost: test\r\n\r\n",
            b"GET / HTTP/1.1\r\n X\r\nHost: test\r\n\r\n",
        ],
    );
    cases.get(
        "3.10",
        &[
            b"X: a\r\nX: b",
            b"X: a\r\nY: c\r\nx: b",
            b"Cookie: a=1\r\nCookie: b=2",
            b"Accept: a\r\nAccept: b",
            b"Authorization: a\r\nAuthorization: b",
            b"X:\r\nX: b",
        ],
    );
    let fields = |count: usize| (0..count).map(|i| format!("X-{i}: y")).collect::<Vec<_>>().join("\r\n");
    for count in [50, 99, 100, 300, 1200] {
        cases.get("3.11", &[fields(count).as_bytes()]);
    }
    for size in [4000, 8000, 14_000, 20_000, 33_000, 70_000] {
        let long = "x".repeat(size);
        cases.get("3.11", &[format!("X: {long}").as_bytes(), format!("{long}: y").as_bytes()]);
    }
    let get = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n".as_slice();
    for before in ["\r\n", "\n", "\r\n\r\n", "\r\n\r\n\r\n\r\n", "\r", " \r\n", "\r\n\n"] {
        cases.put("3.12", [before.as_bytes(), get].concat(), None, false);
    }
    cases.put("3.12", "\r\n".repeat(5000).into_bytes(), None, false);
}

fn lengths(cases: &mut Cases) {
    let both: &[&[u8]] = &[
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        b"Content-Length: 0\r\nTransfer-Encoding: chunked",
        b"Content-Length: 15\r\nTransfer-Encoding: identity",
        b"Content-Length: 15\r\nTransfer-Encoding: \x0bchunked",
        b"Content-Length: 15\r\nTransfer-Encoding:",
        b"Content-Length: x\r\nTransfer-Encoding: chunked",
        b"Content-Length: 15\r\nTransfer-Encoding: gzip, chunked",
        b"Content-Length: 15\r\nTransfer-Encoding: xchunked",
        b"Content-Length: 15\r\nX: y\r\nTransfer-Encoding: CHUNKED",
    ];
    cases.post("4.1", both);
    let codings: &[&[u8]] = &[
        b"chunked",
        b"Chunked",
        b"CHUNKED",
        b" chunked ",
        b"\tchunked\t",
        b"chunked, chunked",
        b"identity",
        b"chunked, identity",
        b"identity, chunked",
        b"chunked, gzip",
        b",",
        b"",
        b"gzip",
        b"xchunked",
        b"chunkedx",
        b"chunked,",
        b",chunked",
        b"\"chunked\"",
        b"chunked;q=1",
        b"'chunked'",
        b"x y",
        b"chunked chunked",
        b"trailers, chunked",
        b"chunked\x00",
        b"chu\x00nked",
        b"cow",
        b"chunked;",
        b"deflate, chunked",
        b"[chunked]",
    ];
    for coding in codings {
        cases.post("4.2", &[&[b"Transfer-Encoding: ", *coding].concat()]);
    }
    cases.post(
        "4.2",
        &[
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding:",
            b"Transfer-Encoding: x\r\n chunked",
            b"Transfer-Encoding:chunked",
        ],
    );
    cases.post("4.3", &[b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: gzip,chunked"]);
    cases.post(
        "4.4",
        &[
            b"Transfer-Encoding: \x0bchunked",
            b"Transfer-Encoding: chunked\x0c",
            b"Transfer-Encoding: \xa0chunked",
            b"Transfer-Encoding: \xc2\xa0chunked",
            b"Content-Length: \x0b15",
            b"Content-Length: 15\x0c",
            b"Content-Length: \x0015",
            b"Content-Length: 15\xa0",
            b"Content-Length:\t15",
            b"Content-Length: 15\t",
            b"Content-Length:  15  ",
            b"Content-Length:15",
        ],
    );
    let alike: &[&[u8]] = &[
        b"Transfer_Encoding: chunked",
        b"\x01Transfer-Encoding: chunked",
        b"Transfer-Encoding\xa0: chunked",
        b"X-Transfer-Encoding: chunked",
        b"Transfer-Encodin: chunked",
        b"Transfer-Encoding1: chunked",
        b"Transfer Encoding: chunked",
        b"Transfer\x00-Encoding: chunked",
        b"Transfer-Encoding\t: chunked",
        b"Transfer-\xc4\xb0ncoding: chunked",
        b"Transfer.Encoding: chunked",
        b"Content_Length: 15",
        b"Content-Length\xa0: 15",
        b"Content-Lengt\xe2\x84\x8e: 15",
        b"ContentLength: 15",
        b"Content-Length\x01: 15",
    ];
    for field in alike {
        cases.get("4.5", &[field]);
        cases.put("4.5", [b"GET / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n", *field, b"\r\n\r\nhello"].concat(), None, false);
    }
    for keep in [&b""[..], b"Connection: keep-alive\r\n"] {
        for coding in [&b"chunked"[..], b"identity"] {
            cases.put(
                "4.6",
                [b"POST / HTTP/1.0\r\nHost: test\r\n", keep, b"Transfer-Encoding: ", coding, b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"].concat(),
                None,
                false,
            );
        }
    }
    cases.raw("4.6", &[b"POST / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello"]);
    let syntax: &[&[u8]] = &[
        b"15",
        b"",
        b" ",
        b"+15",
        b"-15",
        b"-0",
        b"0x15",
        b"15_0",
        b"15.0",
        b"15e1",
        b"15;x",
        b"1 5",
        b"\"15\"",
        b"\xd9\xa5",
        b"015",
        b"0000000000000000000000000015",
        b"15,",
        b",15",
        b"0",
        b"00",
        b"x",
        b"15x",
        b"0b1",
        b"1'5",
        b"15\r\n 5",
        b"\xef\xbc\x95",
        b"15#",
        b"NaN",
    ];
    for length in syntax {
        cases.post("4.7", &[&[b"Content-Length: ", *length].concat()]);
    }
    cases.post(
        "4.8",
        &[
            b"Content-Length: 15\r\nContent-Length: 6",
            b"Content-Length: 15\r\nContent-Length: 15",
            b"Content-Length: 0\r\nContent-Length: 15",
            b"Content-Length: 15, 15",
            b"Content-Length: 15, 6",
            b"Content-Length: 0,15",
            b"Content-Length: 15,0",
            b"Content-Length: 15\r\nX: y\r\ncontent-length: 15",
            b"Content-Length: 15\r\nContent-Length:",
            b"Content-Length:\r\nContent-Length: 15",
            b"Content-Length: 15\r\nContent-Length: 015",
        ],
    );
    cases.post(
        "4.9",
        &[
            b"Content-Length: 18446744073709551616",
            b"Content-Length: 18446744073709551621",
            b"Content-Length: 99999999999999999999999999999999",
            b"Content-Length: 9223372036854775807",
            b"Content-Length: 9223372036854775808",
            b"Content-Length: 4294967311",
            b"Content-Length: 1048577",
            b"Content-Length: 18446744073709551615",
        ],
    );
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "PROPFIND", "PUT"] {
        cases.put("4.10", format!("{method} / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello").into_bytes(), None, false);
        cases.put(
            "4.10",
            format!("{method} / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n").into_bytes(),
            None,
            false,
        );
    }
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "PROPFIND", "PUT", "POST", "PATCH", "PURGE"] {
        cases.put("4.10", format!("{method} / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n").into_bytes(), None, false);
        cases.put("4.10", format!("{method} / HTTP/1.1\r\nHost: test\r\n\r\n").into_bytes(), None, false);
    }
}

fn chunks(cases: &mut Cases) {
    let sizes: &[&[u8]] = &[
        b"5",
        b"05",
        b"0000000000000005",
        b"00000000000000005",
        b"00000000000000000005",
        b" 5",
        b"5 ",
        b"5\t",
        b"\t5",
        b"+5",
        b"-5",
        b"0x5",
        b"5_",
        b"5,5",
        b"g",
        b"\x005",
        b"5\x00",
        b"\x0b5",
        b"5\x0b",
        b"",
        b"5 5",
        b"5h",
        b"5.",
        b"0X5",
        b"10000000000000005",
        b"ffffffffffffffff",
        b"fffffffffffffffff",
        b"7fffffffffffffff",
        b"100000005",
        b"5 ;x",
        b";x",
        b" ",
        b"\"5\"",
        b"\xef\xbc\x95",
    ];
    for size in sizes {
        cases.chunked("4.11", &[&[*size, b"\r\nhello\r\n0\r\n\r\n"].concat()]);
    }
    cases.chunked(
        "4.11",
        &[
            b"A\r\n0123456789\r\n0\r\n\r\n",
            b"a\r\n0123456789\r\n0\r\n\r\n",
            b"5\r\nhello\r\n000\r\n\r\n",
            b"0\r\n\r\n",
            b"-0\r\n\r\n",
            b"5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n",
        ],
    );
    cases.chunked(
        "4.12",
        &[
            b"5\nhello\r\n0\r\n\r\n",
            b"5\rhello\r\n0\r\n\r\n",
            b"5\r\r\nhello\r\n0\r\n\r\n",
            b"5\n\nhello\r\n0\r\n\r\n",
            b"5;a\nb\r\nhello\r\n0\r\n\r\n",
            b"5;a\rb\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\r\n0\n\r\n",
            b"5\r\nhello\r\n0\r\n\n",
            b"5\r\nhello\r\n0\n\n",
            b"5;\nxxxx\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\r\n0\r\r\n\r\n",
        ],
    );
    cases.chunked(
        "4.13",
        &[
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhello\r0\r\n\r\n",
            b"5\r\nhelloXX0\r\n\r\n",
            b"5\r\nhello world\r\n0\r\n\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhello\n\r0\r\n\r\n",
            b"5\r\nhello\r\n\r\n0\r\n\r\n",
            b"5\r\nhell\r\n0\r\n\r\n",
            b"5\r\nhello \r\n0\r\n\r\n",
        ],
    );
    cases.chunked(
        "4.14",
        &[
            b"5;a\r\nhello\r\n0\r\n\r\n",
            b"5;a=b\r\nhello\r\n0;c\r\n\r\n",
            b"5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n",
            b"5; a=b\r\nhello\r\n0\r\n\r\n",
            b"5;a =b\r\nhello\r\n0\r\n\r\n",
            b"5;\r\nhello\r\n0\r\n\r\n",
            b"5;;a\r\nhello\r\n0\r\n\r\n",
            b"5;=a\r\nhello\r\n0\r\n\r\n",
            b"5;a=\"b\"c\r\nhello\r\n0\r\n\r\n",
            b"5;a=\"b\r\nhello\r\n0\r\n\r\n",
            b"5;\x00\r\nhello\r\n0\r\n\r\n",
            b"5;\xff\r\nhello\r\n0\r\n\r\n",
            b"5:a\r\nhello\r\n0\r\n\r\n",
        ],
    );
    for size in [200, 300, 5000, 70_000] {
        cases.chunked("4.14", &[format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(size)).as_bytes()]);
    }
    cases.chunked("4.14", &[format!("{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "e".repeat(200)).repeat(200)).as_bytes()]);
    cases.chunked(
        "4.15",
        &[
            b"5\r\nhello\r\n0\r\nX: 1\r\n\r\n",
            b"0\r\nX\r\n\r\n",
            b"0\r\n X: 1\r\n\r\n",
            b"0\r\nX : 1\r\n\r\n",
            b"0\r\nX: \x01\r\n\r\n",
            b"0\r\nX: \x00\r\n\r\n",
            b"0\r\nX: 1\n\r\n",
            b"0\r\n\n",
            b"0\r\n\rX",
            b"0\r\nContent-Length: 5\r\n\r\n",
            b"0\r\nHost: other\r\n\r\n",
            b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"0\r\nX: 1\r\n Y\r\n\r\n",
            b"0\r\n: 1\r\n\r\n",
            b"0\r\nX: 1\r\nY: 2\r\n\r\n",
        ],
    );
    cases.chunked(
        "4.15",
        &[format!("0\r\nX: {}\r\n\r\n", "t".repeat(10_000)).as_bytes(), format!("0\r\nX: {}\r\n\r\n", "t".repeat(70_000)).as_bytes()],
    );
    let post = "POST / HTTP/1.1\r\nHost: test\r\n";
    for cut in [
        "Content-Length: 5\r\n\r\nhell",
        "Content-Length: 5\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n",
        "Transfer-Encoding: chunked\r\n\r\n",
        "Content-Length: 5\r\n",
        "",
    ] {
        cases.put("4.16", format!("{post}{cut}").into_bytes(), None, true);
    }
    cases.post("4.17", &[b"Transfer-Encoding: chunked\r\nTrailer: X", b"Content-Length: 15\r\nTE: trailers"]);
    cases.raw("4.18", &[b"BAD\r\n\r\nGET /hidden HTTP/1.1\r\nHost: test\r\n\r\n", b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: x\r\n\r\nGET /hidden HTTP/1.1\r\nHost: test\r\n\r\n", b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGGET /hidden HTTP/1.1\r\nHost: test\r\n\r\n", b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: test\r\n\r\n"]);
}

fn connections(cases: &mut Cases) {
    cases.get(
        "5.1",
        &[
            b"Connection: x-hop\r\nX-Hop: 1",
            b"Connection: X-Forwarded-For",
            b"Connection: host",
            b"Connection: cookie\r\nCookie: a=1",
            b"Connection: x-a, x-b\r\nX-A: 1\r\nX-B: 2\r\nX-C: 3",
            b"Connection: x-forwarded-proto, via",
            b"Connection: authorization\r\nAuthorization: a",
        ],
    );
    cases.post(
        "5.1",
        &[b"Connection: content-length\r\nContent-Length: 15", b"Connection: transfer-encoding\r\nTransfer-Encoding: chunked"],
    );
    cases.get("5.1", &[format!("Connection: {}", "a, ".repeat(17)).as_bytes(), "Connection: a\r\n".repeat(17).trim_end().as_bytes()]);
    cases.get(
        "5.2",
        &[
            b"Keep-Alive: timeout=5",
            b"Proxy-Connection: keep-alive",
            b"TE: trailers",
            b"TE: gzip",
            b"Upgrade: h2c",
            b"Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
            b"HTTP2-Settings: AAMAAABkAAQAAP__",
            b"Connection: upgrade\r\nUpgrade: h2",
            b"Connection: TE\r\nTE: trailers",
            b"Trailer: X",
            b"Proxy-Authorization: a",
        ],
    );
    cases.get(
        "5.3",
        &[
            b"Connection: close",
            b"Connection: CLOSE",
            b"Connection: keep-alive, close",
            b"Connection: keep-alive\r\nConnection: close",
            b"Connection: close\t",
            b"Connection: x,close,y",
            b"Connection:close",
            b"Connection: close, keep-alive",
            b"Connection: keep-alive",
            b"Connection: closed",
            b"Connection:",
            b"Connection: \"close\"",
            b"Connection: close;x",
        ],
    );
    cases.raw(
        "5.4",
        &[
            b"GET / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n",
            b"GET / HTTP/1.0\r\nHost: test\r\nConnection: close\r\n\r\n",
            b"GET / HTTP/1.0\r\nHost: test\r\nConnection: Keep-Alive, close\r\n\r\n",
            b"GET / HTTP/1.0\r\nHost: test\r\nProxy-Connection: keep-alive\r\n\r\n",
            b"HEAD / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n",
        ],
    );
    let get = "GET /N HTTP/1.1\r\nHost: test\r\n\r\n";
    cases.put("5.5", get.replace('N', "1").repeat(2).into_bytes(), None, false);
    cases.put("5.5", (0..20).map(|i| get.replace('N', &i.to_string())).collect::<String>().into_bytes(), None, false);
    cases.put("5.5", format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello{get}").into_bytes(), None, false);
    cases.put("5.5", format!("{get}BAD\r\n\r\n").into_bytes(), None, false);
    cases.post(
        "5.6",
        &[
            b"Content-Length: 15\r\nExpect: 100-continue",
            b"Transfer-Encoding: chunked\r\nExpect: 100-Continue",
            b"Content-Length: 15\r\nExpect: 200-ok",
            b"Content-Length: 15\r\nExpect:",
            b"Content-Length: 15\r\nExpect: 100-continue, 100-continue",
            b"Content-Length: 15\r\nExpect: 100-continue\r\nExpect: 100-continue",
            b"Content-Length: 15\r\nExpect: 100-continue;x",
            b"Content-Length: 2097152\r\nExpect: 100-continue",
        ],
    );
    cases.get("5.6", &[b"Expect: 100-continue", b"Expect: something"]);
    cases.raw("5.6", &[b"POST / HTTP/1.0\r\nHost: test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello"]);
    cases.get(
        "5.9",
        &[
            b"Connection: upgrade\r\nUpgrade: websocket",
            b"Upgrade: websocket",
            b"Connection: upgrade",
            b"Connection: upgrade\r\nUpgrade: websocket, h2c",
            b"Connection: upgrade\r\nUpgrade:",
            b"Connection: Upgrade\r\nUpgrade: x\r\nUpgrade: y",
            b"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket",
        ],
    );
    cases.raw(
        "5.9",
        &[
            b"GET / HTTP/1.0\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello",
        ],
    );
    for request in ["GET / HTTP/1.1\r\nHost: test\r\n\r\n", "GET / HTTP/1.1\r\nHost: te", "\r\n", "", "GET"] {
        cases.put("5.12", request.as_bytes().to_vec(), None, true);
    }
}

fn owned(cases: &mut Cases) {
    cases.get(
        "6.1",
        &[
            b"X-Forwarded-For: 1.2.3.4",
            b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8",
            b"X-Forwarded-For:",
            b"x-forwarded-FOR: a, b",
        ],
    );
    cases.get(
        "6.2",
        &[
            b"X-Forwarded-Proto: https",
            b"X-Forwarded-Host: evil",
            b"X-Forwarded-Port: 443",
            b"Forwarded: for=1.2.3.4",
            b"X-Real-IP: 1.2.3.4",
        ],
    );
    cases.get(
        "6.3",
        &[
            b"X-Forwarded-Ssl: on",
            b"X-Forwarded-Scheme: https",
            b"X-Scheme: https",
            b"X-Forwarded-Protocol: https",
            b"X-Url-Scheme: https",
            b"Front-End-Https: on",
            b"X-Forwarded-Prefix: /x",
            b"X-Rewrite-URL: /x",
            b"X-Original-URL: /x",
            b"X-Sendfile-Type: X-Accel-Redirect",
            b"X-Accel-Mapping: /=/x",
            b"Client-IP: 1.2.3.4",
            b"X-Client-IP: 1.2.3.4",
            b"True-Client-IP: 1.2.3.4",
            b"X-Forwarded-User: root",
            b"X-Forwarded: x",
        ],
    );
    cases.get(
        "6.4",
        &[
            b"X_Forwarded_For: 1.2.3.4",
            b"X_Forwarded-Proto: https",
            b"SCRIPT_NAME: /x",
            b"Remote_User: root",
            b"Content_Type: x",
            b"X_A: b",
            b"_: b",
        ],
    );
    cases.get("6.5", &[b"X-Request-Id: abc", b"X-Request-Id: a b", b"X-Request-Id: a\r\nX-Request-Id: b"]);
    cases.get("6.6", &[b"Proxy: http://evil/", b"PROXY: x"]);
    cases.get("6.7", &[b"!~: x", b"!~Passenger: x", b"X-Accel-Redirect: /x", b"X-Sendfile: /etc/passwd"]);
    cases.get("6.8", &[b"Via: 1.1 other"]);
    cases.answer(
        "6.7",
        "GET",
        &[
            b"HTTP/1.1 200 OK\r\nX-Accel-Redirect: /inside\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nX-Sendfile: /etc/passwd\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nX-Accel-Buffering: no\r\nX-Accel-Expires: 0\r\nContent-Length: 2\r\n\r\nok",
        ],
        false,
    );
    cases.answer(
        "6.9",
        "GET",
        &[
            b"HTTP/1.1 200 OK\r\nDate: then\r\nServer: app\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nDate: then\r\nDate: now\r\nContent-Length: 2\r\n\r\nok",
        ],
        false,
    );
}

fn answers(cases: &mut Cases) {
    let lines: &[&str] = &[
        "HTTP/2.0 200 OK",
        "HTTP/0.9 200 OK",
        "HTTP/1.2 200 OK",
        "ICY 200 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 000 OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 600 OK",
        "HTTP/1.1 999 OK",
        "HTTP/1.1 +20 OK",
        "HTTP/1.1 200",
        "HTTP/1.1 200 ",
        "HTTP/1.1  200 OK",
        "HTTP/1.1\t200 OK",
        "http/1.1 200 OK",
        "HTTP/1.1 2x0 OK",
        " HTTP/1.1 200 OK",
        "HTTP/1.1 200OK",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 200 a\x01b",
        "HTTP/1.1 299 \u{e4}",
        "HTTP/1.1 404 Gone Fishing",
        "HTTP/1.1",
        "HTTP/1.1 -200 OK",
        "HTTP/1.1 599 x",
    ];
    for line in lines {
        cases.answer("7.1", "GET", &[format!("{line}\r\nContent-Length: 2\r\n\r\nok").as_bytes()], true);
    }
    cases.answer(
        "7.1",
        "GET",
        &[b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"<html>no response at all</html>\r\n\r\n", b"\x00\x00\x00\r\n\r\n", b""],
        true,
    );
    let lengths: &[&str] = &[
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length:",
        "Content-Length: x",
        "Content-Length: 5x",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length: 18446744073709551621",
        "Content-Length: 18446744073709551615",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding:",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: Chunked",
        "Transfer-Encoding: chunked, chunked",
        "Content-Length: 15",
    ];
    for fields in lengths {
        cases.answer("7.2", "GET", &[format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n").as_bytes()], true);
    }
    cases.answer(
        "7.2",
        "GET",
        &[b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nhello"],
        true,
    );
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    cases.answer(
        "7.3",
        "GET",
        &[
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nContent-Len",
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        ],
        true,
    );
    for body in [
        "5\r\nhel",
        "5\r\nhello\r\n",
        "5\r\nhello\r\n0\r\n",
        "",
        "5\r\nhello\r\n0\r\nX: 1\r\n",
        "5\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "x\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5;a=b\r\nhello\r\n0\r\nX: 1\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
    ] {
        cases.answer("7.3", "GET", &[format!("{chunked}{body}").as_bytes()], true);
    }
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ] {
        cases.answer("7.4", "GET", &[format!("{head}{poison}").as_bytes()], false);
    }
    for head in [
        "HTTP/1.1 204 No Content\r\nContent-Length: 44\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 44\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
    ] {
        cases.answer("7.5", "GET", &[head.as_bytes(), format!("{head}{poison}").as_bytes()], false);
    }
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
    ] {
        cases.answer("7.5", "HEAD", &[head.as_bytes(), format!("{head}{poison}").as_bytes()], false);
    }
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for interim in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        "HTTP/1.1 103 x\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 103 x\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 199 x\r\n\r\n",
        "HTTP/1.1 103 x\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        cases.answer("7.6", "GET", &[format!("{interim}{ok}").as_bytes()], false);
    }
    for count in [2, 16, 17] {
        cases.answer("7.6", "GET", &[format!("{}{ok}", "HTTP/1.1 103 x\r\n\r\n".repeat(count)).as_bytes()], false);
    }
    cases.answer(
        "7.7",
        "GET",
        &[
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nok",
        ],
        true,
    );
    let fields: &[&[u8]] = &[
        b"X: a\x00b",
        b"X: a\rb",
        b"X: a\x01",
        b"X: a\r\n b",
        b"X : a",
        b"X",
        b": a",
        b"X(: a",
        b"X: a\nY: b",
        b"X: \xff",
        b"X: a\x7fb",
        b" X: a",
        b"X\x00: a",
        b"X: a\r\n\tb",
        b"X Y: a",
        b"X\xa0: a",
        b"X: a\r",
        b"X:\ta",
    ];
    for field in fields {
        cases.answer("7.8", "GET", &[&[b"HTTP/1.1 200 OK\r\n", *field, b"\r\nContent-Length: 2\r\n\r\nok"].concat()], true);
    }
    cases.answer(
        "7.8",
        "GET",
        &[
            b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\nok",
            b"HTTP/1.1 200 OK\r\nX: y\nContent-Length: 2\r\n\r\nok",
        ],
        true,
    );
    for (count, size) in [(1, 3000), (1, 9000), (1, 17_000), (30, 500), (120, 500), (132, 500), (126, 1), (200, 1)] {
        let fields: String = (0..count).map(|_| format!("X: {}\r\n", "y".repeat(size))).collect();
        cases.answer("7.9", "GET", &[format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok").as_bytes()], false);
    }
    cases.answer(
        "7.13",
        "GET",
        &[
            b"HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nProxy-Connection: x\r\nTrailer: X\r\nTE: y\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX: y\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nProxy-Authenticate: x\r\nContent-Length: 2\r\n\r\nok",
        ],
        false,
    );
}
