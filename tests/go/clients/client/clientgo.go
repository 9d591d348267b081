package main

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/pager"
)

const protobuf = "application/vnd.kubernetes.protobuf"

var (
	configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	// A custom resource of the tests. The API server's memory of it begins when it was defined, so `1` is always too old.
	things = schema.GroupVersionResource{Group: "example.test", Version: "v1", Resource: "things"}
)

// clientGo is the typed client with both of its content types, the dynamic and the metadata client, discovery, leader election.
func clientGo(w *work) error {
	steps := discoverySteps(w)
	for _, contentType := range []string{"application/json", protobuf} {
		config := rest.CopyConfig(w.config)
		config.ContentType = contentType
		config.AcceptContentTypes = contentType
		if contentType == protobuf {
			config.AcceptContentTypes = protobuf + ",application/json"
		}
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return err
		}
		for _, step := range typedSteps(w, client) {
			step.name = contentType + ": " + step.name
			steps = append(steps, step)
		}
	}
	steps = append(steps, dynamicSteps(w)...)
	steps = append(steps, step{"leader election", func() (any, error) { return elect(w) }})
	return inOrder(steps)
}

func discoverySteps(w *work) []step {
	client := discovery.NewDiscoveryClientForConfigOrDie(w.config)
	return []step{
		{"server version", func() (any, error) { return client.ServerVersion() }},
		{"aggregated discovery", func() (any, error) {
			groups, lists, err := client.ServerGroupsAndResources()
			// They come out of a map.
			sort.Slice(lists, func(one, other int) bool { return lists[one].GroupVersion < lists[other].GroupVersion })
			return []any{groups, lists}, err
		}},
		{"openapi v3", func() (any, error) {
			paths, err := client.OpenAPIV3().Paths()
			if err != nil {
				return nil, err
			}
			document, err := paths["api/v1"].Schema("application/json")
			return []any{len(paths), digest(document)}, err
		}},
	}
}

func typedSteps(w *work, client *kubernetes.Clientset) []step {
	maps := client.CoreV1().ConfigMaps(w.namespace)
	get := func() (any, error) { return maps.Get(w.ctx, "typed", metav1.GetOptions{}) }
	patch := func(kind types.PatchType, body string) func() (any, error) {
		return func() (any, error) {
			return maps.Patch(w.ctx, "typed", kind, []byte(body), metav1.PatchOptions{})
		}
	}
	return []step{
		{"create", func() (any, error) {
			object := &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Name: "typed", Labels: map[string]string{"part": "typed"}},
				Data:       map[string]string{"umlaut": "äöü", "line": "a\nb"},
				BinaryData: map[string][]byte{"bytes": {0, 1, 254, 255}},
			}
			return maps.Create(w.ctx, object, metav1.CreateOptions{})
		}},
		{"create again", func() (any, error) {
			_, err := maps.Create(w.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "typed"}}, metav1.CreateOptions{})
			return refusal(err)
		}},
		{"get", get},
		{"update", func() (any, error) {
			object, err := maps.Get(w.ctx, "typed", metav1.GetOptions{})
			if err != nil {
				return nil, err
			}
			object.Data["more"] = "yes"
			return maps.Update(w.ctx, object, metav1.UpdateOptions{})
		}},
		{"update of what has changed since", func() (any, error) {
			object, err := maps.Get(w.ctx, "typed", metav1.GetOptions{})
			if err != nil {
				return nil, err
			}
			object.ResourceVersion = "1"
			_, err = maps.Update(w.ctx, object, metav1.UpdateOptions{})
			return refusal(err)
		}},
		{"JSON patch", patch(types.JSONPatchType, `[{"op":"test","path":"/data/more","value":"yes"},{"op":"remove","path":"/data/more"}]`)},
		{"merge patch", patch(types.MergePatchType, `{"data":{"merged":"1"}}`)},
		{"strategic merge patch", patch(types.StrategicMergePatchType, `{"metadata":{"labels":{"strategic":"1"}}}`)},
		{"server-side apply", func() (any, error) {
			object := v1.ConfigMap("typed", w.namespace).WithData(map[string]string{"applied": "1"})
			return maps.Apply(w.ctx, object, metav1.ApplyOptions{FieldManager: "test"})
		}},
		{"server-side apply of a foreign field", func() (any, error) {
			object := v1.ConfigMap("typed", w.namespace).WithData(map[string]string{"merged": "2"})
			_, err := maps.Apply(w.ctx, object, metav1.ApplyOptions{FieldManager: "test"})
			return refusal(err)
		}},
		{"dry run", func() (any, error) {
			return maps.Create(w.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "dry"}}, metav1.CreateOptions{DryRun: []string{"All"}})
		}},
		{"list page by page", func() (any, error) {
			for number := range 25 {
				object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("page-%02d", number), Labels: map[string]string{"part": "pages"}}}
				if _, err := maps.Create(w.ctx, object, metav1.CreateOptions{}); err != nil {
					return nil, err
				}
			}
			pages := 0
			list := pager.New(func(ctx context.Context, options metav1.ListOptions) (items runtimeObject, err error) {
				pages++
				return maps.List(ctx, options)
			})
			list.PageSize = 10
			var names []string
			err := list.EachListItem(w.ctx, metav1.ListOptions{LabelSelector: "part=pages"}, func(object runtimeObject) error {
				names = append(names, object.(*corev1.ConfigMap).Name)
				return nil
			})
			return []any{pages, names}, err
		}},
		{"watch", func() (any, error) { return watchChanges(w, client) }},
		{"watch with a time-out", func() (any, error) {
			seconds := int64(1)
			events, err := maps.Watch(w.ctx, metav1.ListOptions{TimeoutSeconds: &seconds, LabelSelector: "part=typed"})
			if err != nil {
				return nil, err
			}
			var seen []any
			for event := range events.ResultChan() {
				seen = append(seen, []any{event.Type, event.Object})
			}
			return seen, nil
		}},
		{"scale", func() (any, error) { return scale(w, client) }},
		{"delete collection", func() (any, error) {
			return nil, maps.DeleteCollection(w.ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "part in (pages, typed)"})
		}},
		{"get what is gone", func() (any, error) {
			_, err := get()
			return refusal(err)
		}},
	}
}

// watchChanges makes changes and waits for each in a watch.
func watchChanges(w *work, client *kubernetes.Clientset) (any, error) {
	maps := client.CoreV1().ConfigMaps(w.namespace)
	list, err := maps.List(w.ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	events, err := maps.Watch(w.ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion, LabelSelector: "part=watched"})
	if err != nil {
		return nil, err
	}
	defer events.Stop()
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "watched", Labels: map[string]string{"part": "watched"}}}
	changes := []func() error{
		func() error { _, err := maps.Create(w.ctx, object, metav1.CreateOptions{}); return err },
		func() error {
			_, err := maps.Patch(w.ctx, "watched", types.MergePatchType, []byte(`{"data":{"a":"b"}}`), metav1.PatchOptions{})
			return err
		},
		func() error { return maps.Delete(w.ctx, "watched", metav1.DeleteOptions{}) },
	}
	var seen []any
	for _, change := range changes {
		if err := change(); err != nil {
			return nil, err
		}
		event, open := <-events.ResultChan()
		if !open {
			return nil, errors.New("the watch ended")
		}
		seen = append(seen, []any{event.Type, event.Object})
	}
	return seen, nil
}

// scale uses a subresource of another group's kind.
func scale(w *work, client *kubernetes.Clientset) (any, error) {
	deployments := client.AppsV1().Deployments(w.namespace)
	zero := int32(0)
	labels := map[string]string{"app": "scaled"}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "scaled"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &zero,
			Paused:   true,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "none"}}},
			},
		},
	}
	if _, err := deployments.Create(w.ctx, deployment, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	before, err := deployments.GetScale(w.ctx, "scaled", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return before.Spec, deployments.Delete(w.ctx, "scaled", metav1.DeleteOptions{})
}

func dynamicSteps(w *work) []step {
	client := dynamic.NewForConfigOrDie(w.config)
	maps := client.Resource(configMaps).Namespace(w.namespace)
	names := metadata.NewForConfigOrDie(w.config)
	return []step{
		{"dynamic: create", func() (any, error) {
			object := &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "dynamic"}, "data": map[string]any{"a": "1"},
			}}
			return maps.Create(w.ctx, object, metav1.CreateOptions{})
		}},
		{"dynamic: apply", func() (any, error) {
			object := &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "dynamic"}, "data": map[string]any{"b": "2"},
			}}
			return maps.Apply(w.ctx, "dynamic", object, metav1.ApplyOptions{FieldManager: "test"})
		}},
		{"dynamic: list", func() (any, error) {
			list, err := maps.List(w.ctx, metav1.ListOptions{FieldSelector: "metadata.name=dynamic"})
			if err != nil {
				return nil, err
			}
			return list.Items, nil
		}},
		{"metadata: list", func() (any, error) {
			list, err := names.Resource(configMaps).Namespace(w.namespace).List(w.ctx, metav1.ListOptions{})
			if err != nil {
				return nil, err
			}
			var found []string
			for _, item := range list.Items {
				found = append(found, item.Kind+" "+item.Name)
			}
			sort.Strings(found)
			return found, nil
		}},
		{"dynamic: watch from a resource version of long ago", func() (any, error) {
			events, err := client.Resource(things).Namespace(w.namespace).Watch(w.ctx, metav1.ListOptions{ResourceVersion: "1"})
			if err != nil {
				return refusal(err)
			}
			defer events.Stop()
			event := <-events.ResultChan()
			if event.Type != watch.Error {
				return nil, fmt.Errorf("the watch began with %s, not with an error", event.Type)
			}
			return refusal(apierrors.FromObject(event.Object))
		}},
		{"dynamic: delete", func() (any, error) { return nil, maps.Delete(w.ctx, "dynamic", metav1.DeleteOptions{}) }},
	}
}

// elect has two candidates for one Lease: the second leads when the first lets go.
func elect(w *work) (any, error) {
	client := kubernetes.NewForConfigOrDie(w.config)
	for _, name := range []string{"first", "second"} {
		ctx, stop := context.WithCancel(w.ctx)
		var led atomic.Bool
		leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{
				LeaseMeta:  metav1.ObjectMeta{Name: "leader", Namespace: w.namespace},
				Client:     client.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: name},
			},
			ReleaseOnCancel: true,
			LeaseDuration:   30 * time.Second,
			RenewDeadline:   20 * time.Second,
			RetryPeriod:     time.Second,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) {
					led.Store(true)
					// Long enough for a renewal.
					time.Sleep(2 * time.Second)
					stop()
				},
				OnStoppedLeading: func() {},
			},
		})
		stop()
		if !led.Load() {
			return nil, fmt.Errorf("%s never led", name)
		}
	}
	lease, err := client.CoordinationV1().Leases(w.namespace).Get(w.ctx, "leader", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	result := []any{*lease.Spec.HolderIdentity, *lease.Spec.LeaseTransitions}
	return result, client.CoordinationV1().Leases(w.namespace).Delete(w.ctx, "leader", metav1.DeleteOptions{})
}

// refusal is the Status that the API server refused with; anything else fails.
func refusal(err error) (any, error) {
	var status apierrors.APIStatus
	if err == nil {
		return nil, errors.New("was not refused")
	}
	if !errors.As(err, &status) {
		return nil, err
	}
	return status.Status(), nil
}
