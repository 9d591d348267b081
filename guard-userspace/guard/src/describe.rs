//! `guard describe`: how a request is understood, for a person or a test to see.

mod input;

use std::io::{self, BufWriter, Read, Write};

use anyhow::{Context, Result};
use clap::ValueEnum;
use guard_kube_request::{DescribeError, RequestInfo, describe};
use serde::Serialize;

use input::{Asked, Requests};

/// Command line of `guard describe`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What standard input holds.
    #[arg(long, value_enum, default_value_t = Input::Auto)]
    input: Input,
}

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Input {
    /// HTTP requests where the first line ends with `HTTP/1.1` or `HTTP/1.0`, else lines.
    Auto,
    /// A method, a space and a URL or path on each line.
    Lines,
    /// Whole HTTP/1.1 requests, one after the other, as they go over the wire.
    Http,
}

/// Writes one JSON object for each request on standard input, as soon as it is read.
pub(crate) fn run(args: &Args) -> Result<()> {
    answer_all(io::stdin().lock(), args.input, BufWriter::new(io::stdout().lock()))
}

fn answer_all(from: impl Read, input: Input, mut to: impl Write) -> Result<()> {
    let mut requests = Requests::new(from, input).context("reading standard input")?;
    while let Some(asked) = requests.next().context("reading standard input")? {
        serde_json::to_writer(&mut to, &Answer::to(&asked)).context("writing an answer")?;
        to.write_all(b"\n").context("writing an answer")?;
        if requests.may_wait() {
            to.flush().context("writing an answer")?;
        }
    }
    to.flush().context("writing an answer")
}

/// One line of output.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Described(Box<Described>),
    #[serde(rename_all = "PascalCase")]
    Refused {
        /// What the client is told.
        error: String,
        /// The kind of fault.
        reason: String,
    },
}

impl Answer {
    fn to(asked: &Asked) -> Self {
        let described = match asked {
            Asked::For { method, target } => text(method).and_then(|method| describe(method, text(target)?)),
            Asked::Unreadable(error) => {
                return Self::Refused { error: error.to_string(), reason: "Unreadable".to_owned() };
            }
        };
        match described {
            Ok(info) => Self::Described(Box::new(info.into())),
            Err(error) => Self::Refused { error: error.to_string(), reason: format!("{error:?}") },
        }
    }
}

fn text(bytes: &[u8]) -> Result<&str, DescribeError> {
    std::str::from_utf8(bytes).map_err(|_| DescribeError::NotText)
}

/// The fields of Kubernetes' `RequestInfo` under their names in Go.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    is_resource_request: bool,
    path: String,
    verb: String,
    #[serde(rename = "APIPrefix")]
    api_prefix: String,
    #[serde(rename = "APIGroup")]
    api_group: String,
    #[serde(rename = "APIVersion")]
    api_version: String,
    namespace: String,
    resource: String,
    subresource: String,
    name: String,
    parts: Vec<String>,
    field_selector: String,
    label_selector: String,
}

impl From<RequestInfo> for Described {
    fn from(info: RequestInfo) -> Self {
        Self {
            is_resource_request: info.is_resource_request,
            path: info.path,
            verb: info.verb,
            api_prefix: info.api_prefix,
            api_group: info.api_group,
            api_version: info.api_version,
            namespace: info.namespace,
            resource: info.resource,
            subresource: info.subresource,
            name: info.name,
            parts: info.parts,
            field_selector: info.field_selector,
            label_selector: info.label_selector,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn answers(input: Input, text: &[u8]) -> Vec<Value> {
        let mut out = Vec::new();
        answer_all(text, input, &mut out).unwrap();
        String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn each_line_is_answered_under_the_names_of_request_info() {
        let [list, exec] = &answers(
            Input::Auto,
            b"GET /apis/apps/v1/namespaces/shop/deployments?labelSelector=a%3Db\n\nPOST https://10.96.0.1/api/v1/namespaces/shop/pods/web/exec?command=ls\n",
        )[..] else { panic!("two lines, two answers") };
        assert_eq!(
            *list,
            json!({
                "IsResourceRequest": true, "Path": "/apis/apps/v1/namespaces/shop/deployments", "Verb": "list", "APIPrefix": "apis",
                "APIGroup": "apps", "APIVersion": "v1", "Namespace": "shop", "Resource": "deployments", "Subresource": "", "Name": "",
                "Parts": ["deployments"], "FieldSelector": "", "LabelSelector": "a=b",
            })
        );
        assert_eq!(
            (&exec["Verb"], &exec["Subresource"], &exec["Name"]),
            (&json!("create"), &json!("exec"), &json!("web"))
        );
    }

    #[test]
    fn what_has_no_description_is_answered_with_the_reason() {
        let refused = answers(Input::Lines, b"GET /api/../version\nGET\nGET /api/v1/p\xffds\nGET /version");
        assert_eq!(refused[0]["Reason"], "DotSegment");
        assert_eq!(refused[1]["Reason"], "Unreadable");
        assert!(refused[1]["Error"].as_str().unwrap().contains("line 2"), "{}", refused[1]);
        assert_eq!(refused[2]["Reason"], "NotText");
        assert_eq!(refused[3]["Path"], "/version");
    }

    #[test]
    fn whole_requests_are_read_with_their_bodies() {
        let text = b"POST /api/v1/namespaces/shop/pods HTTP/1.1\r\nHost: k\r\nContent-Length: 24\r\n\r\nGET /no/request HTTP/1.1GET /version HTTP/1.1\n\n";
        let answers = answers(Input::Auto, text);
        assert_eq!(answers.len(), 2, "{answers:?}");
        assert_eq!((&answers[0]["Verb"], &answers[0]["Resource"]), (&json!("create"), &json!("pods")));
        assert_eq!(answers[1]["Path"], "/version");
    }

    #[test]
    fn after_a_request_whose_end_is_unknown_nothing_is_read() {
        for head in [
            "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST /x HTTP/1.1\r\nContent-Length: 1x\r\n\r\n",
            "no request\r\n\r\n",
        ] {
            let answers = answers(Input::Http, format!("{head}GET /version HTTP/1.1\r\n\r\n").as_bytes());
            assert_eq!(answers.len(), 1, "{answers:?}");
            assert_eq!(answers[0]["Reason"], "Unreadable");
        }
    }

    #[test]
    fn a_line_or_head_without_end_is_given_up() {
        let endless = vec![b'a'; 3 << 20];
        for input in [Input::Lines, Input::Http] {
            assert_eq!(answers(input, &endless)[0]["Reason"], "Unreadable");
        }
        let mut long = b"GET /".to_vec();
        long.extend(&endless);
        long.extend(b"\nGET /version\n");
        let answers = answers(Input::Lines, &long);
        assert_eq!((&answers[0]["Reason"], &answers[1]["Path"]), (&json!("TooLong"), &json!("/version")));
    }
}
