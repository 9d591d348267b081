//! Agent pods are made safe to guard, and held to it, by policies and by webhook, as the API server stores them and as a kubelet runs them.

#[path = "admission/api.rs"]
mod api;
#[path = "admission/by_policy.rs"]
mod by_policy;
#[path = "admission/foreign.rs"]
mod foreign;
#[path = "admission/installation.rs"]
mod installation;
#[path = "admission/judged.rs"]
mod judged;
#[path = "admission/live.rs"]
mod live;
#[path = "admission/running.rs"]
mod running;
#[path = "admission/server.rs"]
mod server;
#[path = "admission/table.rs"]
mod table;

use installation::{AREA, Installation, Mode};

#[test]
fn policies_make_agents_safe_and_hold_them_to_it() {
    let installation = Installation::new(Mode { admission: "auto", trust: "auto" }, &running::ca());
    assert_eq!(installation.settings.trust, guard_admission::Trust::ClusterTrustBundle);
    assert!(AREA.has_object("mutatingadmissionpolicy", "egress-guard-pods"));
    let rows = table::rows();
    judged::all_end_as_the_table_says(&installation, &rows);
    live::every_other_way_is_closed(&installation);
    by_policy::token_secrets_are_refused_wherever_a_pod_names_them(&installation);
    by_policy::a_guard_node_is_written_by_its_own_node(&installation);
    foreign::agents_are_safe_beside_others(&installation, &rows);
    running::agents_start_as_they_are_stored(&installation);
}

#[test]
fn policies_stamp_the_ca_where_there_is_no_trust_bundle() {
    let installation = Installation::new(Mode { admission: "policies", trust: "Annotation" }, &running::ca());
    let rows = table::rows();
    judged::all_end_as_the_table_says(&installation, &rows);
    live::every_other_way_is_closed(&installation);
    foreign::agents_are_safe_beside_others(&installation, &rows);
    running::agents_start_as_they_are_stored(&installation);
}

#[test]
fn the_webhook_does_what_the_policies_do() {
    let installation = Installation::new(Mode { admission: "webhook", trust: "auto" }, &running::ca());
    assert!(!AREA.has_object("mutatingadmissionpolicy", "egress-guard-pods"));
    let rows = table::rows();
    judged::all_end_as_the_table_says(&installation, &rows);
    live::every_other_way_is_closed(&installation);
    foreign::agents_are_safe_beside_others(&installation, &rows);
}
