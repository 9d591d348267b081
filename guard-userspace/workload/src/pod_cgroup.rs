//! Where the kubelet puts a pod's cgroup: both cgroup drivers, any `--cgroup-root`.
//!
//! | driver | path below the cgroup root |
//! |---|---|
//! | cgroupfs | `kubepods/[besteffort/\|burstable/]pod<uid>` |
//! | systemd | `kubepods.slice/[kubepods-<qos>.slice/]kubepods[-<qos>]-pod<uid_>.slice`, each name prefixed by those of the slices above |
//!
//! Source: `pkg/kubelet/cm/{cgroup_manager_linux,pod_container_manager_linux,qos_container_manager_linux}.go`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use guard_identity::PodUid;

/// How deep below the cgroup2 root a kubelet's `--cgroup-root` is looked for.
const MAX_DEPTH: usize = 4;

/// The quality-of-service class of a pod (`status.qosClass`), which is part of its cgroup's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    /// `Guaranteed`: directly below kubepods.
    Guaranteed,
    /// `Burstable`.
    Burstable,
    /// `BestEffort`.
    BestEffort,
}

/// A pod's cgroup that is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodCgroup {
    /// The directory.
    pub path: PathBuf,
    /// Its id in the kernel: the inode of the directory. A directory made again under the same name has another one.
    pub id: u64,
}

/// Where pods' cgroups are looked for.
#[derive(Debug, Clone)]
pub struct CgroupTree {
    root: PathBuf,
}

impl Qos {
    const ALL: [Self; 3] = [Self::BestEffort, Self::Burstable, Self::Guaranteed];

    /// The class that the API server computed, if it did so.
    pub fn parse(class: &str) -> Option<Self> {
        match class {
            "Guaranteed" => Some(Self::Guaranteed),
            "Burstable" => Some(Self::Burstable),
            "BestEffort" => Some(Self::BestEffort),
            _ => None,
        }
    }

    /// The path component, where there is one.
    fn component(self) -> Option<&'static str> {
        match self {
            Self::Guaranteed => None,
            Self::Burstable => Some("burstable"),
            Self::BestEffort => Some("besteffort"),
        }
    }
}

impl CgroupTree {
    /// Pods below `root`: the cgroup2 mount point, or a kubelet's `--cgroup-root` below it to narrow the search.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory that is searched.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The pod's cgroup, if it is there now. The class only says where to look first.
    pub fn find(&self, uid: &PodUid, qos: Option<Qos>) -> Option<PodCgroup> {
        self.candidates(uid, qos).into_iter().find_map(PodCgroup::at)
    }

    /// Every directory that may be the pod's cgroup, the likely ones first. None of them need exist.
    pub fn candidates(&self, uid: &PodUid, qos: Option<Qos>) -> Vec<PathBuf> {
        let classes = qos.into_iter().chain(Qos::ALL.into_iter().filter(|class| Some(*class) != qos));
        let parents = self.kubepods();
        classes.flat_map(|class| parents.iter().map(move |kubepods| below(kubepods, uid, class))).collect()
    }

    /// The directories in which a pod's cgroup may be created, as far as they exist: what to watch for it.
    pub fn parents(&self) -> Vec<PathBuf> {
        let kubepods = self.kubepods();
        if kubepods.is_empty() {
            return vec![self.root.clone()];
        }
        let uid: PodUid = "any".parse().expect("letters are a pod uid");
        let mut parents: Vec<_> = kubepods
            .iter()
            .flat_map(|kubepods| Qos::ALL.map(|class| below(kubepods, &uid, class)))
            .filter_map(|pod| pod.parent().map(Path::to_owned))
            .filter(|parent| parent.is_dir())
            .collect();
        parents.sort();
        parents.dedup();
        parents
    }

    /// The cgroups of all pods that are there now, agents or not.
    pub fn pods(&self) -> Vec<(PodUid, PodCgroup)> {
        let directories =
            |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let all = self.parents().into_iter().flat_map(directories);
        let pods = all.filter_map(|path| Some((pod_uid_in(path.strip_prefix(&self.root).ok()?.to_str()?)?, path)));
        let mut pods: Vec<_> = pods.filter_map(|(uid, path)| Some((uid, PodCgroup::at(path)?))).collect();
        pods.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        pods
    }

    /// Every `kubepods` below the root. The search ends at each of them: below are pods, and names that pods may choose.
    fn kubepods(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut level = vec![self.root.clone()];
        for _ in 0..MAX_DEPTH {
            let mut next = Vec::new();
            for directory in level.iter().flat_map(fs::read_dir).flatten().flatten() {
                if !directory.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                if is_kubepods(&directory.file_name().to_string_lossy()) {
                    found.push(directory.path());
                } else {
                    next.push(directory.path());
                }
            }
            level = next;
        }
        found.sort();
        found
    }
}

impl PodCgroup {
    /// The cgroup at this path, if there is one.
    pub fn at(path: PathBuf) -> Option<Self> {
        let metadata = fs::metadata(&path).ok().filter(fs::Metadata::is_dir)?;
        Some(Self { id: metadata.ino(), path })
    }

    /// The directory is still there, and still the same one.
    pub fn exists(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.id)
    }
}

/// The uid of the pod that a path inside a cgroup hierarchy belongs to, if it belongs to one.
///
/// The first pod on the way down: what stands below was named in the pod.
pub(crate) fn pod_uid_in(path: &str) -> Option<PodUid> {
    let mut components = path.split('/').skip_while(|component| !is_kubepods(component));
    components.find_map(|component| {
        let uid = match component.strip_suffix(".slice") {
            Some(slice) => slice.rsplit_once("-pod")?.1.replace('_', "-"),
            None => component.strip_prefix("pod")?.to_owned(),
        };
        uid.parse().ok()
    })
}

fn is_kubepods(name: &str) -> bool {
    name == "kubepods" || name == "kubepods.slice" || name.ends_with("-kubepods.slice")
}

fn below(kubepods: &Path, uid: &PodUid, class: Qos) -> PathBuf {
    let name = kubepods.file_name().unwrap_or_default().to_string_lossy();
    match (name.strip_suffix(".slice"), class.component()) {
        (Some(slice), Some(class)) => kubepods
            .join(format!("{slice}-{class}.slice"))
            .join(format!("{slice}-{class}-pod{}.slice", uid.as_str().replace('-', "_"))),
        (Some(slice), None) => kubepods.join(format!("{slice}-pod{}.slice", uid.as_str().replace('-', "_"))),
        (None, Some(class)) => kubepods.join(class).join(format!("pod{uid}")),
        (None, None) => kubepods.join(format!("pod{uid}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid() -> PodUid {
        "4c0f5a0e-6f0b-4f1c-9d0a-0d9b7a3f9f11".parse().unwrap()
    }

    fn tree(directories: &[&str]) -> (tempfile::TempDir, CgroupTree) {
        let root = tempfile::tempdir().unwrap();
        for directory in directories {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        let tree = CgroupTree::new(root.path().to_owned());
        (root, tree)
    }

    #[test]
    fn pods_are_found_under_both_drivers_and_any_cgroup_root() {
        for path in [
            "kubepods/pod4c0f5a0e-6f0b-4f1c-9d0a-0d9b7a3f9f11",
            "kubepods/besteffort/pod4c0f5a0e-6f0b-4f1c-9d0a-0d9b7a3f9f11",
            "egress-a-n1/kubepods/burstable/pod4c0f5a0e-6f0b-4f1c-9d0a-0d9b7a3f9f11",
            "kubepods.slice/kubepods-pod4c0f5a0e_6f0b_4f1c_9d0a_0d9b7a3f9f11.slice",
            "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod4c0f5a0e_6f0b_4f1c_9d0a_0d9b7a3f9f11.slice",
            "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod4c0f5a0e_6f0b_4f1c_9d0a_0d9b7a3f9f11.slice",
        ] {
            let (root, tree) = tree(&["system.slice/other.service", path]);
            for qos in [None, Some(Qos::Burstable)] {
                let found = tree.find(&uid(), qos).unwrap_or_else(|| panic!("{path} was not found"));
                assert_eq!(found.path, root.path().join(path));
                assert!(found.exists());
            }
            assert!(tree.parents().contains(&root.path().join(path).parent().unwrap().to_owned()), "{path}");
        }
    }

    #[test]
    fn all_pods_are_listed_under_both_drivers_and_nothing_that_is_none() {
        let (_root, tree) = tree(&[
            "kubepods/podaaa/kubepods/podxxx",
            "kubepods/burstable/podbbb/container",
            "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podc_c.slice/cri.scope",
            "system.slice/podddd",
        ]);
        let found: Vec<String> = tree.pods().into_iter().map(|(uid, _)| uid.to_string()).collect();
        assert_eq!(found, ["aaa", "bbb", "c-c"]);
    }

    #[test]
    fn what_a_pod_makes_inside_its_own_cgroup_is_no_pod() {
        let inside = "kubepods/podaaa/kubepods/pod4c0f5a0e-6f0b-4f1c-9d0a-0d9b7a3f9f11";
        let (_root, tree) = tree(&[inside]);
        assert_eq!(tree.find(&uid(), None), None);
        assert_eq!(pod_uid_in(&format!("/{inside}")).map(|uid| uid.to_string()).as_deref(), Some("aaa"));
    }

    #[test]
    fn a_cgroup_made_again_under_the_same_name_is_another_one() {
        let (root, tree) = tree(&["kubepods/pod4c0f5a0e-6f0b-4f1c-9d0a-0d9b7a3f9f11"]);
        let found = tree.find(&uid(), None).unwrap();
        fs::rename(&found.path, root.path().join("gone")).unwrap();
        assert!(!found.exists());
        fs::create_dir(&found.path).unwrap();
        assert!(!found.exists());
    }

    #[test]
    fn the_pod_is_read_from_a_process_cgroup() {
        for (path, uid) in [
            ("/kubepods/burstable/pod4c0f-1/7c9e", Some("4c0f-1")),
            ("/n1/kubepods/pod4c0f-1", Some("4c0f-1")),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod4c0f_1.slice/cri-containerd-7c9e.scope",
                Some("4c0f-1"),
            ),
            ("/../../kubepods/besteffort/pod4c0f-1", Some("4c0f-1")),
            ("/system.slice/podman.service", None),
            ("/kubepods/burstable", None),
        ] {
            assert_eq!(pod_uid_in(path).as_ref().map(PodUid::as_str), uid, "{path}");
        }
    }

    #[test]
    fn before_the_kubelet_has_started_the_root_is_watched() {
        let (root, tree) = tree(&["system.slice"]);
        assert_eq!(tree.parents(), [root.path().to_owned()]);
    }
}
