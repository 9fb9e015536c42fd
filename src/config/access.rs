//! `access_log`, of the server and of an app: a format alone, or a table. Core: text only, nothing is opened.

use super::keys::Keys;
use super::section::Value;
use super::{AccessLogConfig, LogFormat};

pub fn access_log(value: &Value<'_>, keys: &'static Keys) -> AccessLogConfig {
    if !value.is_table() {
        return on(value.choice(&FORMATS).flatten(), None);
    }
    let section = value.table(keys);
    let file = section.get("file").and_then(|value| value.absolute_path());
    on(section.choice("format", &FORMATS, Some(LogFormat::Combined)), file)
}

fn on(format: Option<LogFormat>, file: Option<std::path::PathBuf>) -> AccessLogConfig {
    format.map_or(AccessLogConfig::Off, |format| AccessLogConfig::On { format, file })
}

const FORMATS: [(&str, Option<LogFormat>); 3] = [("combined", Some(LogFormat::Combined)), ("json", Some(LogFormat::Json)), ("off", None)];
