//! Leaves and authorities change under agents that notice nothing.

use std::time::Duration;

use guard_e2e::harness::{Agent, PodPlan, SOON, eventually, unique};

use crate::BED;
use crate::bed::{LEAF, WAIT};

/// A client that reads `ca.crt` each time, and one that read it once, each with a connection of its own for each request. A line for each failure,
/// and the count at the end, when the file that says so is there.
const CLIENTS: &str = r#"
d=/var/run/secrets/kubernetes.io/serviceaccount
cp $d/ca.crt /tmp/once.crt
n=0
while [ ! -e /tmp/enough ]; do
  for ca in $d/ca.crt /tmp/once.crt; do
    code=$(curl -sS --max-time 20 --cacert $ca -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $(cat $d/token)" https://$KUBERNETES_SERVICE_HOST/api/v1/namespaces/default 2>/tmp/err) || true
    [ "$code" = 200 ] || echo "FAILED $ca $code $(cat /tmp/err)"
    n=$((n+1))
  done
  sleep 0.3
done
echo "DONE $n"
"#;

#[test]
fn no_request_fails_while_leaf_and_authority_change_under_live_agents() {
    let _turn = BED.turn();
    // An earlier test may have ended control, and the leaf may have expired in the meantime. This one begins with a fresh leaf.
    let earlier = leaf();
    eventually("a leaf that has just been made", WAIT, || {
        if leaf() == earlier { Err("still the one before this test") } else { Ok(()) }
    });
    let pod = BED.pod(PodPlan::agent(unique("rotated"), Agent("ci-bot")));
    eventually("a first request", SOON, || match get(&pod).as_str() {
        "200" => Ok(()),
        said => Err(said.to_owned()),
    });
    let mut clients = pod.start(["sh", "-c", CLIENTS]);
    let before = BED.bundle();
    assert_eq!(count(&before), 1, "no rotation is under way");
    let served = leaf();

    // The leaf alone, by the clock.
    eventually("another leaf by the same authority", WAIT, || {
        let now = leaf();
        if now == served { Err("still the first leaf") } else { Ok(()) }
    });
    assert_eq!(BED.bundle(), before);

    BED.kubectl.run(["annotate", "secret", "egress-guard-ca", "egressguard.io/rotate=now"]).ok();
    let both = eventually("the next authority beside the first", SOON, || {
        let bundle = BED.bundle();
        if count(&bundle) == 2 { Ok(bundle) } else { Err(bundle) }
    });
    assert!(both.contains(before.trim()), "who follows ca.crt trusts both");
    let last = eventually("the first authority to retire", WAIT, || {
        let bundle = BED.bundle();
        if count(&bundle) == 1 && bundle != before { Ok(bundle) } else { Err(bundle) }
    });
    assert!(both.contains(last.trim()));
    // Whoever reads the bundle now has never heard of the first authority.
    let late = BED.pod(PodPlan::agent(unique("late"), Agent("ci-bot")));
    assert_eq!(get(&late), "200");

    std::thread::sleep(Duration::from_secs(LEAF / 4));
    pod.sh("touch /tmp/enough").ok();
    let said = clients.wait(SOON).out;
    let failures: Vec<_> = said.lines().filter(|line| line.starts_with("FAILED")).collect();
    assert_eq!(failures, [] as [&str; 0]);
    let requests: u32 = said.rsplit("DONE ").next().and_then(|count| count.trim().parse().ok()).expect("a count");
    println!("{requests} requests, none failed");
    assert!(requests > 50, "{requests} requests are too few to mean anything");
    let annotations = BED.kubectl.get("secret", "egress-guard-ca")["metadata"]["annotations"].clone();
    assert!(annotations.get("egressguard.io/rotate").is_none(), "asked once, done once");
}

#[test]
fn a_cluster_trust_bundle_says_the_same_as_the_config_map() {
    let _turn = BED.turn();
    eventually("both to say the same", SOON, || {
        let bundle = BED.kubectl.get("clustertrustbundle", "egressguard.io:serving:ca");
        let published = bundle["spec"]["trustBundle"].as_str().unwrap_or_default().to_owned();
        if published == BED.bundle() { Ok(()) } else { Err(published) }
    });
}

fn get(pod: &guard_e2e::harness::Pod) -> String {
    let line = r#"d=/var/run/secrets/kubernetes.io/serviceaccount; curl -sS --max-time 20 --cacert $d/ca.crt -o /dev/null -w '%{http_code}' \
        -H "Authorization: Bearer $(cat $d/token)" https://$KUBERNETES_SERVICE_HOST/api/v1/namespaces/default"#;
    pod.sh(line).out_and_err()
}

/// What the first node keeps, without its key.
fn leaf() -> String {
    let kept = BED.folder.join("certificates-n1/serving.pem");
    let text = std::fs::read_to_string(kept).expect("the node keeps its leaf");
    text.split_once("-----BEGIN CERTIFICATE-----").expect("a key and a chain").1.to_owned()
}

fn count(bundle: &str) -> usize {
    bundle.matches("BEGIN CERTIFICATE").count()
}
