//! The upstream token, in a directory laid out as the kubelet does it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use guard_identity::{MAX_TOKEN_LEN, PodUid, UPSTREAM_VOLUME, UpstreamError, UpstreamToken};
use tempfile::TempDir;

const UID: &str = "4c0f5a0e-6f0b-4f1c-9d0a-0d9b7a3f9f11";

/// `--root-dir` of a kubelet.
struct Kubelet {
    root: TempDir,
}

impl Kubelet {
    fn new() -> Self {
        let kubelet = Self { root: tempfile::tempdir().expect("a directory") };
        fs::create_dir_all(kubelet.volume()).expect("created");
        kubelet
    }

    fn volume(&self) -> PathBuf {
        self.root.path().join("pods").join(UID).join("volumes/kubernetes.io~projected").join(UPSTREAM_VOLUME)
    }

    /// What the kubelet's atomic writer does: a new directory, then `..data` renamed over the old link.
    fn project(&self, generation: &str, token: impl AsRef<[u8]>) {
        let volume = self.volume();
        fs::create_dir(volume.join(generation)).expect("created");
        fs::write(volume.join(generation).join("token"), token).expect("written");
        symlink(generation, volume.join("..data_tmp")).expect("linked");
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).expect("renamed");
        if !volume.join("token").is_symlink() {
            symlink("..data/token", volume.join("token")).expect("linked");
        }
    }

    fn token(&self) -> UpstreamToken {
        UpstreamToken::new(self.root.path(), &uid())
    }
}

fn uid() -> PodUid {
    UID.parse().expect("a uid")
}

async fn refusal(token: &UpstreamToken) -> UpstreamError {
    token.bearer().await.expect_err("refused")
}

fn assert_not_opened(error: &UpstreamError, at: &Path) {
    assert!(matches!(error, UpstreamError::Open { path, .. } if path == at), "{error}");
}

#[tokio::test]
async fn the_token_is_a_sensitive_bearer_header() {
    let kubelet = Kubelet::new();
    kubelet.project("..2026_11_22_1", "abc.def.ghi\n");
    let token = kubelet.token();
    let bearer = token.bearer().await.unwrap();
    assert_eq!(bearer, "Bearer abc.def.ghi");
    assert!(bearer.is_sensitive());
    assert!(!format!("{bearer:?} {token:?}").contains("abc"));
}

#[tokio::test]
async fn a_rotated_token_is_read_after_a_refusal_by_the_api_server() {
    let kubelet = Kubelet::new();
    kubelet.project("..1", "old");
    let token = kubelet.token();
    assert_eq!(token.bearer().await.unwrap(), "Bearer old");
    kubelet.project("..2", "new");
    assert_eq!(token.bearer().await.unwrap(), "Bearer old", "not before it is ten seconds old");
    token.invalidate();
    assert_eq!(token.bearer().await.unwrap(), "Bearer new");
}

#[tokio::test(start_paused = true)]
async fn a_rotated_token_is_read_after_ten_seconds() {
    let kubelet = Kubelet::new();
    kubelet.project("..1", "old");
    let token = kubelet.token();
    assert_eq!(token.bearer().await.unwrap(), "Bearer old");
    kubelet.project("..2", "new");
    tokio::time::advance(std::time::Duration::from_secs(10)).await;
    assert_eq!(token.bearer().await.unwrap(), "Bearer new");
}

#[tokio::test]
async fn a_pod_without_the_volume_is_told_what_is_missing() {
    let kubelet = Kubelet::new();
    fs::remove_dir(kubelet.volume()).unwrap();
    let error = refusal(&kubelet.token()).await;
    assert_not_opened(&error, &kubelet.volume());
    assert!(error.to_string().contains("check that the pod has the volume egress-guard-upstream"), "{error}");
}

#[tokio::test]
async fn a_volume_without_a_token_is_told_by_its_path() {
    let kubelet = Kubelet::new();
    assert_not_opened(&refusal(&kubelet.token()).await, &kubelet.volume().join("token"));
}

#[tokio::test]
async fn a_deleted_pods_token_is_gone() {
    let kubelet = Kubelet::new();
    kubelet.project("..1", "old");
    let token = kubelet.token();
    assert!(token.bearer().await.is_ok());
    fs::remove_dir_all(kubelet.root.path().join("pods")).unwrap();
    token.invalidate();
    assert_not_opened(&refusal(&token).await, &kubelet.volume());
}

#[tokio::test]
async fn a_link_out_of_the_volume_is_not_followed() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "another-pods-token").unwrap();
    for target in [secret.path().to_owned(), PathBuf::from("../../../other/token"), PathBuf::from("/proc/self/environ")]
    {
        let kubelet = Kubelet::new();
        fs::create_dir_all(kubelet.volume().join("../../../other")).unwrap();
        fs::write(kubelet.volume().join("../../../other/token"), "another-pods-token").unwrap();
        symlink(&target, kubelet.volume().join("token")).unwrap();
        assert_not_opened(&refusal(&kubelet.token()).await, &kubelet.volume().join("token"));
    }
}

#[tokio::test]
async fn a_link_in_place_of_a_directory_is_not_followed() {
    let elsewhere = Kubelet::new();
    elsewhere.project("..1", "another-pods-token");
    for level in ["volumes", "volumes/kubernetes.io~projected", "volumes/kubernetes.io~projected/egress-guard-upstream"]
    {
        let kubelet = Kubelet::new();
        let pod = |kubelet: &Kubelet| kubelet.root.path().join("pods").join(UID).join(level);
        fs::remove_dir_all(pod(&kubelet)).unwrap();
        symlink(pod(&elsewhere), pod(&kubelet)).unwrap();
        assert_not_opened(&refusal(&kubelet.token()).await, &kubelet.volume());
    }
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let long = vec![b'x'; MAX_TOKEN_LEN + 1];
    for (content, why) in [
        (&b""[..], "empty"),
        (b" \n", "empty"),
        (b"a b", "more than one word"),
        (b"a\nb", "more than one word"),
        ("\u{fc}".as_bytes(), "more than one word"),
        (&long, "too long"),
    ] {
        let kubelet = Kubelet::new();
        kubelet.project("..1", content);
        let error = refusal(&kubelet.token()).await;
        assert!(matches!(error, UpstreamError::NoToken { .. }) && error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_file_is_refused_without_waiting_for_it() {
    let kubelet = Kubelet::new();
    fs::create_dir(kubelet.volume().join("token")).unwrap();
    assert!(matches!(refusal(&kubelet.token()).await, UpstreamError::NoToken { .. }));

    fs::remove_dir(kubelet.volume().join("token")).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, kubelet.volume().join("token"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(matches!(refusal(&kubelet.token()).await, UpstreamError::NoToken { .. }));
}

#[tokio::test]
async fn each_of_many_rotations_is_followed() {
    let kubelet = Kubelet::new();
    kubelet.project("..0", "token-0");
    let token = kubelet.token();
    for generation in 1..200 {
        kubelet.project(&format!("..{generation}"), format!("token-{generation}"));
        token.invalidate();
        assert_eq!(token.bearer().await.unwrap(), format!("Bearer token-{generation}"));
    }
}
