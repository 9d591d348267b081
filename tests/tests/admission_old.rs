//! The same rules on an API server that has neither admission policies nor trust bundles: all by webhook, and the CA by annotation.
// without: trust-bundles, mutating-policies, validating-policies

#[path = "admission/api.rs"]
mod api;
#[path = "admission/foreign.rs"]
mod foreign;
#[path = "admission/installation.rs"]
mod installation;
#[path = "admission/judged.rs"]
mod judged;
#[path = "admission/live.rs"]
mod live;
#[path = "admission/server.rs"]
mod server;
#[path = "admission/table.rs"]
mod table;

use installation::{AREA, Installation, Mode};

#[test]
fn an_old_api_server_is_served_by_webhooks_and_annotations() {
    let ca = guard_certificates::Authority::new_in_memory().expect("a certificate authority").certificate_pem();
    let installation = Installation::new(Mode { admission: "auto", trust: "auto" }, &ca);
    assert_eq!(installation.settings.trust, guard_admission::Trust::Annotation);
    assert!(AREA.has_object("validatingwebhookconfiguration", "egress-guard"));
    let rows = table::rows();
    judged::all_end_as_the_table_says(&installation, &rows);
    live::every_other_way_is_closed(&installation);
    foreign::agents_are_safe_beside_others(&installation, &rows);
}
