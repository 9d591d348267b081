package main

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// More than an HTTP/2 connection of the API server carries.
const manyWatches = 300

// watches are open at once on one client: each sees every change, and there is room for requests beside them.
func watches(w *work) error {
	maps := kubernetes.NewForConfigOrDie(w.config).CoreV1().ConfigMaps(w.namespace)
	list, err := maps.List(w.ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var open []watch.Interface
	for number := range manyWatches {
		events, err := maps.Watch(w.ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion, FieldSelector: "metadata.name=seen-by-all"})
		if err != nil {
			return fmt.Errorf("watch %d: %w", number, err)
		}
		defer events.Stop()
		open = append(open, events)
	}
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "seen-by-all"}}
	changes := []step{
		{string(watch.Added), func() (any, error) { return maps.Create(w.ctx, object, metav1.CreateOptions{}) }},
		{string(watch.Modified), func() (any, error) {
			return maps.Patch(w.ctx, "seen-by-all", types.MergePatchType, []byte(`{"data":{"a":"b"}}`), metav1.PatchOptions{})
		}},
		{string(watch.Deleted), func() (any, error) { return nil, maps.Delete(w.ctx, "seen-by-all", metav1.DeleteOptions{}) }},
	}
	for _, change := range changes {
		if _, err := change.run(); err != nil {
			return err
		}
		for number, events := range open {
			select {
			case event, more := <-events.ResultChan():
				if !more || string(event.Type) != change.name {
					return fmt.Errorf("watch %d: %q instead of %s", number, event.Type, change.name)
				}
			case <-w.ctx.Done():
				return errors.New("not every watch has seen the change " + change.name)
			}
		}
		if err := tell(change.name, len(open)); err != nil {
			return err
		}
	}
	return nil
}
