//! What a URL says beside its path: percent-decoding, and `collect[]`, which names the parts of an exposition that are wanted.
//!
//! The parts of a target are `native` and a `sensor/NAME` for each sensor that is placed on it. Only what is named is read and encoded; a
//! name that the target does not have is refused in a sentence that lists those it has, because a scraper that
//! silently got nothing would look healthy. Other parameters mean nothing here and are ignored, as scrapers may add their own.

/// The parameter.
const COLLECT: &str = "collect[]";
/// The values that a target read from the kernel has.
const NATIVE: &str = "native";
/// What a sensor's name follows.
const SENSOR: &str = "sensor/";

/// Percent-decoding of one path segment or parameter; `None` where it is not UTF-8.
pub(super) fn unescape(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).filter(|two| two.iter().all(u8::is_ascii_hexdigit));
        let hex = hex.and_then(|two| std::str::from_utf8(two).ok());
        match hex.filter(|_| *first == b'%').and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// The parts of an exposition that are wanted. None named means all.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    native: bool,
    sensors: Vec<String>,
}

impl Parts {
    /// From a query, of a target that has these sensors. The sentence names what is wrong and lists what there is.
    pub(super) fn of<'s>(query: &str, sensors: impl Iterator<Item = &'s str> + Clone) -> Result<Self, String> {
        let mut parts = Self::default();
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        for (_, value) in pairs.filter(|(key, _)| unescape(key).as_deref() == Some(COLLECT)) {
            let Some(value) = unescape(&value.replace('+', " ")) else {
                return Err(format!("{COLLECT} is not UTF-8"));
            };
            match value.strip_prefix(SENSOR) {
                None if value == NATIVE => parts.native = true,
                Some(name) if sensors.clone().any(|known| known == name) => parts.sensors.push(name.to_owned()),
                _ => {
                    let known: String = sensors.map(|name| format!(", {SENSOR}{name}")).collect();
                    return Err(format!("{COLLECT} is {value:?}, which is not there; there is {NATIVE}{known}"));
                }
            }
        }
        Ok(parts)
    }

    fn all(&self) -> bool {
        !self.native && self.sensors.is_empty()
    }

    /// Whether the kernel's values are wanted.
    pub(super) fn native(&self) -> bool {
        self.native || self.all()
    }

    /// Whether any sensor may be wanted.
    pub(super) fn sensors(&self) -> bool {
        self.all() || !self.sensors.is_empty()
    }

    /// Whether this sensor is wanted.
    pub(super) fn sensor(&self, name: &str) -> bool {
        self.all() || self.sensors.iter().any(|wanted| wanted == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded_once() {
        assert_eq!(unescape("a%2Fb").as_deref(), Some("a/b"));
        assert_eq!(unescape("a%252Fb").as_deref(), Some("a%2Fb"));
        assert_eq!(unescape("100%").as_deref(), Some("100%"));
        assert_eq!(unescape("%+1").as_deref(), Some("%+1"), "a sign is not a digit");
        assert_eq!(unescape("%ff"), None);
    }

    fn of(query: &str) -> Result<Parts, String> {
        Parts::of(query, ["nginx", "redis"].into_iter())
    }

    #[test]
    fn nothing_named_is_everything() {
        for query in ["", "x=1", "&&=&collect=native", "name[]=redis", "%ff=native"] {
            let all = of(query).unwrap();
            assert!(all.native() && all.sensors() && all.sensor("redis"), "{query}");
        }
    }

    #[test]
    fn only_what_is_named_is_wanted() {
        let native = of("collect[]=native").unwrap();
        assert!(native.native() && !native.sensors() && !native.sensor("redis"));
        let one = of("x=1&collect%5B%5D=sensor%2Fredis").unwrap();
        assert!(!one.native() && one.sensors() && one.sensor("redis") && !one.sensor("nginx"));
        let two = of("collect[]=sensor/nginx&collect[]=native&collect[]=sensor/nginx").unwrap();
        assert!(two.native() && two.sensor("nginx") && !two.sensor("redis"));
    }

    #[test]
    fn a_name_that_is_not_there_is_refused_with_those_that_are() {
        for value in ["nothing", "sensor/", "sensor/postgres", "redis", "Native", "sensor/redis/", "native+"] {
            let sentence = of(&format!("collect[]=native&collect[]={value}")).unwrap_err();
            assert!(sentence.ends_with("there is native, sensor/nginx, sensor/redis"), "{sentence}");
        }
        assert!(of("collect[]").is_err() && of("collect[]=").is_err(), "naming nothing is a mistake too");
        assert!(of("collect[]=%ff").is_err());
        let sentence = Parts::of("collect[]=cpu%0A", std::iter::empty()).unwrap_err();
        assert_eq!(sentence, "collect[] is \"cpu\\n\", which is not there; there is native");
    }
}
