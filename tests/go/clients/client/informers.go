package main

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	kubeinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

const (
	// Objects that come, change and in part go while the informers watch.
	churned = 300
	// How often an informer tells its handlers of everything again.
	resync = 3 * time.Second
)

// An informer under observation.
type observed struct {
	name     string
	resource schema.GroupVersionResource
	kind     string
	// Whether the API server answers 410 to a watch from resource version 1.
	forgets  bool
	informer cache.SharedIndexInformer
	watches  atomic.Int64
	// How often it began from nothing: a second time only after a 410.
	begun   atomic.Int64
	resyncs atomic.Int64
	// What the handlers were told: a name's resource version.
	told sync.Map
}

// informers keep their stores equal to the API server's list through hundreds of changes, watches that end, and 410.
func informers(w *work) error {
	encoded := rest.CopyConfig(w.config)
	encoded.ContentType, encoded.AcceptContentTypes = protobuf, protobuf+",application/json"
	typed := &observed{name: "typed, protobuf", resource: configMaps, kind: "ConfigMap"}
	untyped := &observed{name: "dynamic", resource: things, kind: "Thing", forgets: true}
	client := dynamic.NewForConfigOrDie(w.config)
	typed.informer = kubeinformers.NewSharedInformerFactoryWithOptions(kubernetes.NewForConfigOrDie(encoded), resync,
		kubeinformers.WithNamespace(w.namespace), kubeinformers.WithTweakListOptions(typed.disturb)).Core().V1().ConfigMaps().Informer()
	untyped.informer = dynamicinformer.NewFilteredDynamicInformer(client, things, w.namespace, resync, cache.Indexers{}, untyped.disturb).Informer()
	stop := make(chan struct{})
	defer close(stop)
	for _, one := range []*observed{typed, untyped} {
		if err := one.start(stop); err != nil {
			return err
		}
	}
	for _, one := range []*observed{typed, untyped} {
		if err := one.churn(w, client.Resource(one.resource).Namespace(w.namespace)); err != nil {
			return err
		}
	}
	for _, one := range []*observed{typed, untyped} {
		if err := one.settle(w, client.Resource(one.resource).Namespace(w.namespace)); err != nil {
			return fmt.Errorf("%s informer: %w", one.name, err)
		}
		if err := tell("informer: "+one.name, len(one.informer.GetStore().ListKeys())); err != nil {
			return err
		}
	}
	return nil
}

// disturb ends each watch after two seconds, and begins each fourth where the API server has nothing left to tell: it answers 410.
func (o *observed) disturb(options *metav1.ListOptions) {
	isWatch := options.TimeoutSeconds != nil
	if !isWatch || options.SendInitialEvents != nil {
		o.begun.Add(1)
	}
	if !isWatch {
		return
	}
	seconds := int64(2)
	options.TimeoutSeconds = &seconds
	if o.watches.Add(1)%4 == 3 && o.forgets && options.SendInitialEvents == nil {
		options.ResourceVersion = "1"
	}
}

func (o *observed) start(stop <-chan struct{}) error {
	set := func(object any) {
		accessor, err := meta.Accessor(object)
		if err == nil {
			o.told.Store(accessor.GetName(), accessor.GetResourceVersion())
		}
	}
	_, err := o.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: set,
		UpdateFunc: func(before, after any) {
			first, errFirst := meta.Accessor(before)
			second, errSecond := meta.Accessor(after)
			if errFirst == nil && errSecond == nil && first.GetResourceVersion() == second.GetResourceVersion() {
				o.resyncs.Add(1)
			}
			set(after)
		},
		DeleteFunc: func(object any) {
			if last, missed := object.(cache.DeletedFinalStateUnknown); missed {
				object = last.Obj
			}
			accessor, err := meta.Accessor(object)
			if err == nil {
				o.told.Delete(accessor.GetName())
			}
		},
	})
	if err != nil {
		return err
	}
	go o.informer.Run(stop)
	if !cache.WaitForCacheSync(stop, o.informer.HasSynced) {
		return errors.New("the informer never had a list")
	}
	return nil
}

// made is a new object of the observed's kind.
func (o *observed) made(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": o.resource.GroupVersion().String(), "kind": o.kind, "metadata": map[string]any{"name": name},
	}}
}

// churn creates, changes and deletes, by eight workers.
func (o *observed) churn(w *work, objects dynamic.ResourceInterface) error {
	failures := make(chan error, churned)
	numbers := make(chan int)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for number := range numbers {
				failures <- func() error {
					name := fmt.Sprintf("churned-%03d", number)
					if _, err := objects.Create(w.ctx, o.made(name), metav1.CreateOptions{}); err != nil {
						return err
					}
					for change := range number % 3 {
						body := fmt.Sprintf(`{"data":{"change":"%d"}}`, change)
						if _, err := objects.Patch(w.ctx, name, types.MergePatchType, []byte(body), metav1.PatchOptions{}); err != nil {
							return err
						}
					}
					if number%4 == 0 {
						return objects.Delete(w.ctx, name, metav1.DeleteOptions{})
					}
					return nil
				}()
			}
		})
	}
	for number := range churned {
		numbers <- number
	}
	close(numbers)
	group.Wait()
	close(failures)
	for err := range failures {
		if err != nil {
			return err
		}
	}
	return nil
}

// settle waits until store and handlers have what the API server has, and until every disturbance was met.
func (o *observed) settle(w *work, objects dynamic.ResourceInterface) error {
	for {
		why, err := o.differs(w, objects)
		if err != nil {
			return err
		}
		if why == "" && o.watches.Load() >= 5 && (o.begun.Load() > 1 || !o.forgets) && o.resyncs.Load() >= 1 {
			return nil
		}
		select {
		case <-w.ctx.Done():
			return fmt.Errorf("after %d watches, %d beginnings, %d resyncs: %s",
				o.watches.Load(), o.begun.Load(), o.resyncs.Load(), why)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// differs says how the store differs from the API server's list, if it does.
func (o *observed) differs(w *work, objects dynamic.ResourceInterface) (string, error) {
	list, err := objects.List(w.ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	if have := len(o.informer.GetStore().ListKeys()); have != len(list.Items) {
		return fmt.Sprintf("the store has %d objects, the API server %d", have, len(list.Items)), nil
	}
	told := 0
	o.told.Range(func(any, any) bool { told++; return true })
	if told != len(list.Items) {
		return fmt.Sprintf("the handlers were told of %d objects, the API server has %d", told, len(list.Items)), nil
	}
	for _, item := range list.Items {
		object, _, err := o.informer.GetStore().GetByKey(w.namespace + "/" + item.GetName())
		if err != nil {
			return "", err
		}
		accessor, err := meta.Accessor(object)
		if err != nil || accessor.GetResourceVersion() != item.GetResourceVersion() {
			return item.GetName() + " is another in the store", nil
		}
		if version, _ := o.told.Load(item.GetName()); version != item.GetResourceVersion() {
			return item.GetName() + " is another to the handlers", nil
		}
	}
	return "", nil
}
