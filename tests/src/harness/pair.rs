//! Two clients that differ in the guard alone.

use super::{Agent, Pod, PodPlan, World};

/// Pods on one node, of one image, with one account, which may do everything.
#[derive(Debug)]
pub struct Pair {
    /// Under guard.
    pub guarded: Pod,
    /// Without.
    pub direct: Pod,
}

impl World {
    /// A pair whose guarded pod has this class.
    #[track_caller]
    pub fn pair(&self, name: &str, class: Agent, image: &'static str) -> Pair {
        let plans = [PodPlan::agent(format!("{name}-guarded"), class), PodPlan::ordinary(format!("{name}-direct"))];
        let [guarded, direct] = self.pods(&plans.map(|plan| plan.image(image)));
        Pair { guarded, direct }
    }
}

impl Pair {
    /// Does the same with both at once; what came of it with the guarded pod is first.
    #[track_caller]
    pub fn each_at_once<T: Send>(&self, work: impl Fn(&Pod) -> T + Sync) -> [T; 2] {
        std::thread::scope(|scope| {
            let direct = scope.spawn(|| work(&self.direct));
            let guarded = work(&self.guarded);
            [guarded, direct.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))]
        })
    }
}
