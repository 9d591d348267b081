// Command client does what agents do, by client-go and by plain HTTP, with nothing but its pod's in-cluster configuration.
// Each step prints a line of JSON: its name, and what the API server's answer was. Two runs with equal lines have seen the same.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"k8s.io/client-go/rest"
)

// Longest that a part may take.
const limit = 100 * time.Second

// What a part works on.
type work struct {
	ctx    context.Context
	config *rest.Config
	// The namespace that the part has for itself.
	namespace string
	// A pod in it that runs, with a shell and a server of /etc on port 8080.
	pod string
}

func main() {
	parts := map[string]func(*work) error{
		"client-go": clientGo,
		"informers": informers,
		"streams":   streams,
		"watches":   watches,
		"wire":      wire,
		"fixtures":  prepare,
	}
	if len(os.Args) != 4 || parts[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: client PART NAMESPACE POD; parts: client-go, informers, streams, watches, fixtures, wire")
		os.Exit(2)
	}
	config, err := rest.InClusterConfig()
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		// The tests compare results, not speed: no part waits for its own client's rate limit.
		config.QPS, config.Burst = -1, 0
		err = parts[os.Args[1]](&work{ctx: ctx, config: config, namespace: os.Args[2], pod: os.Args[3]})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// tell prints what a step has seen.
func tell(step string, result any) error {
	line, err := json.Marshal(map[string]any{"step": step, "result": result})
	if err != nil {
		return fmt.Errorf("%s: %w", step, err)
	}
	_, err = fmt.Println(string(line))
	return err
}

// A step of a part: its name, and what it does.
type step struct {
	name string
	run  func() (any, error)
}

// inOrder runs steps and tells what each has seen, up to the first that fails.
func inOrder(steps []step) error {
	for _, step := range steps {
		result, err := step.run()
		if err == nil {
			err = tell(step.name, result)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}
