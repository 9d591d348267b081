//! kube-request
