//! Label values from a bounded set, whatever an agent sends.

/// The verbs of Kubernetes' `RequestInfo`, and the lower-case HTTP methods that non-resource requests have as verb.
const VERBS: [&str; 17] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "proxy",
    "head",
    "post",
    "put",
    "options",
    "trace",
    "connect",
    "none",
    "other",
];

/// The metric label for `verb`: itself if Kubernetes knows it, `none` if the request could not be described, else `other`.
pub fn verb_label(verb: &str) -> &'static str {
    if verb.is_empty() {
        return "none";
    }
    VERBS.iter().find(|known| **known == verb).copied().unwrap_or("other")
}

/// The metric label for an HTTP status code: `200` for codes of RFC 9110 and Kubernetes, else the class (`2xx`).
pub fn code_label(code: u16) -> &'static str {
    match code {
        0 => "none",
        101 => "101",
        200 => "200",
        201 => "201",
        202 => "202",
        204 => "204",
        206 => "206",
        301 => "301",
        302 => "302",
        304 => "304",
        307 => "307",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        405 => "405",
        406 => "406",
        409 => "409",
        410 => "410",
        413 => "413",
        415 => "415",
        422 => "422",
        429 => "429",
        431 => "431",
        500 => "500",
        501 => "501",
        502 => "502",
        503 => "503",
        504 => "504",
        _ => match code / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            5 => "5xx",
            _ => "other",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_an_agent_made_up_is_other() {
        assert_eq!(verb_label("watch"), "watch");
        assert_eq!(verb_label("deletecollection"), "deletecollection");
        assert_eq!(verb_label("x-1234"), "other");
        assert_eq!(verb_label(""), "none");
    }

    #[test]
    fn a_code_nobody_defined_is_its_class() {
        assert_eq!(code_label(403), "403");
        assert_eq!(code_label(299), "2xx");
        assert_eq!(code_label(499), "4xx");
        assert_eq!(code_label(799), "other");
        assert_eq!(code_label(0), "none");
    }
}
