package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
)

// streams is exec, attach and port-forward by both of their protocols, and logs as they come.
func streams(w *work) error {
	client := kubernetes.NewForConfigOrDie(w.config)
	var steps []step
	for _, protocol := range []string{"WebSocket", "SPDY", "WebSocket or else SPDY"} {
		steps = append(steps, execSteps(w, client, protocol)...)
	}
	for _, protocol := range []string{"WebSocket", "SPDY"} {
		steps = append(steps,
			step{protocol + ": port-forward", func() (any, error) { return forward(w, client, protocol, "8080") }},
			step{protocol + ": port-forward to nobody", func() (any, error) { return forward(w, client, protocol, "8081") }})
	}
	steps = append(steps, step{"logs as they come", func() (any, error) { return follow(w, client) }})
	return inOrder(steps)
}

// What a command in the pod has said.
type said struct {
	Out  string
	Err  string
	Code int
}

func execSteps(w *work, client *kubernetes.Clientset, protocol string) []step {
	run := func(options *corev1.PodExecOptions, streams remotecommand.StreamOptions) (any, error) {
		return runs(w, client, protocol, options, streams)
	}
	big := strings.Repeat("0123456789abcdef", 1<<16)
	return []step{
		{protocol + ": exec", func() (any, error) {
			command := []string{"sh", "-c", "cat; echo oh >&2; exit 7"}
			options := &corev1.PodExecOptions{Command: command, Stdin: true, Stdout: true, Stderr: true}
			return run(options, remotecommand.StreamOptions{Stdin: strings.NewReader("hello")})
		}},
		{protocol + ": exec of a mebibyte both ways", func() (any, error) {
			options := &corev1.PodExecOptions{Command: []string{"cat"}, Stdin: true, Stdout: true}
			result, err := run(options, remotecommand.StreamOptions{Stdin: strings.NewReader(big)})
			if err == nil && result.(said).Out != big {
				err = errors.New("what came back is not what was sent")
			}
			return digest([]byte(big)), err
		}},
		{protocol + ": exec with a terminal", func() (any, error) {
			// The size is sent when the command runs already.
			command := []string{"sh", "-c", "until stty size 2>&1 | grep -q '^40 120$'; do sleep 0.1; done; stty size"}
			options := &corev1.PodExecOptions{Command: command, Stdin: true, Stdout: true, TTY: true}
			ctx, cancel := context.WithCancel(w.ctx)
			defer cancel()
			return run(options, remotecommand.StreamOptions{Stdin: silence{ctx}, Tty: true, TerminalSizeQueue: &sizes{}})
		}},
		{protocol + ": exec of what is not there", func() (any, error) {
			options := &corev1.PodExecOptions{Command: []string{"/nothing"}, Stdout: true, Stderr: true}
			_, err := run(options, remotecommand.StreamOptions{})
			if err == nil {
				return nil, errors.New("was run")
			}
			return withoutPod(err.Error()), nil
		}},
	}
}

// runs a command in the pod by one protocol.
func runs(w *work, client *kubernetes.Clientset, protocol string, options *corev1.PodExecOptions, streams remotecommand.StreamOptions) (any, error) {
	request := client.CoreV1().RESTClient().Post().Resource("pods").Namespace(w.namespace).Name(w.pod).SubResource("exec")
	executor, err := executorFor(w.config, protocol, request.VersionedParams(options, scheme.ParameterCodec))
	if err != nil {
		return nil, err
	}
	var out, stderr bytes.Buffer
	if options.Stdout {
		streams.Stdout = &out
	}
	if options.Stderr {
		streams.Stderr = &stderr
	}
	err = executor.StreamWithContext(w.ctx, streams)
	var code exec.CodeExitError
	if err != nil && !errors.As(err, &code) {
		return nil, err
	}
	return said{out.String(), stderr.String(), code.Code}, nil
}

func executorFor(config *rest.Config, protocol string, request *rest.Request) (remotecommand.Executor, error) {
	url := request.URL()
	spdy, err := remotecommand.NewSPDYExecutor(config, "POST", url)
	if err != nil || protocol == "SPDY" {
		return spdy, err
	}
	webSocket, err := remotecommand.NewWebSocketExecutor(config, "GET", url.String())
	if err != nil || protocol == "WebSocket" {
		return webSocket, err
	}
	return remotecommand.NewFallbackExecutor(webSocket, spdy, httpstream.IsUpgradeFailure)
}

// An input that says nothing, and stays open until the command has ended.
type silence struct{ ctx context.Context }

func (s silence) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, io.EOF
}

// One size of a terminal.
type sizes struct{ told bool }

func (s *sizes) Next() *remotecommand.TerminalSize {
	if s.told {
		return nil
	}
	s.told = true
	return &remotecommand.TerminalSize{Width: 120, Height: 40}
}

// forward opens a port of the pod here, and asks the server behind it several times at once.
func forward(w *work, client *kubernetes.Clientset, protocol, port string) (any, error) {
	url := client.CoreV1().RESTClient().Post().Resource("pods").Namespace(w.namespace).Name(w.pod).SubResource("portforward").URL()
	var dialer httpstream.Dialer
	var err error
	if protocol == "WebSocket" {
		dialer, err = portforward.NewSPDYOverWebsocketDialer(url, w.config)
	} else {
		transport, upgrader, failed := spdy.RoundTripperFor(w.config)
		dialer, err = spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", url), failed
	}
	if err != nil {
		return nil, err
	}
	stop, ready := make(chan struct{}), make(chan struct{})
	var stderr buffer
	forwarder, err := portforward.New(dialer, []string{"0:" + port}, stop, ready, io.Discard, &stderr)
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-ended:
		return nil, fmt.Errorf("port-forward ended: %w", err)
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		return nil, err
	}
	answers := make([]string, 10)
	var group sync.WaitGroup
	for number := range answers {
		group.Go(func() { answers[number] = fetch(fmt.Sprintf("http://127.0.0.1:%d/hosts", ports[0].Local)) })
	}
	group.Wait()
	close(stop)
	if port == "8080" {
		return answers, nil
	}
	// client-go tells the reason on standard error, once for each connection or only for the first.
	reason, _, _ := strings.Cut(stderr.String(), "\n")
	return withoutPod(reason), nil
}

// A buffer that several goroutines write to.
type buffer struct {
	lock sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(data []byte) (int, error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.text.Write(data)
}

func (b *buffer) String() string {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.text.String()
}

func fetch(url string) string {
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	if err != nil {
		return "no answer"
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return "half an answer"
	}
	return digest(body)
}

// follow sees each line of a log before the next is written.
func follow(w *work, client *kubernetes.Clientset) (any, error) {
	write := func(text string) error {
		options := &corev1.PodExecOptions{Command: []string{"sh", "-c", "echo " + text + " > /proc/1/fd/1"}, Stdout: true}
		_, err := runs(w, client, "WebSocket", options, remotecommand.StreamOptions{})
		return err
	}
	if err := write("line-0"); err != nil {
		return nil, err
	}
	one := int64(1)
	logs, err := client.CoreV1().Pods(w.namespace).GetLogs(w.pod, &corev1.PodLogOptions{Follow: true, TailLines: &one}).Stream(w.ctx)
	if err != nil {
		return nil, err
	}
	defer logs.Close()
	lines := bufio.NewScanner(logs)
	var seen []string
	for number := 1; number <= 5; number++ {
		if !lines.Scan() {
			return nil, fmt.Errorf("the log ended after %q: %w", seen, lines.Err())
		}
		seen = append(seen, lines.Text())
		if err := write(fmt.Sprintf("line-%d", number)); err != nil {
			return nil, err
		}
	}
	return seen, nil
}

// A container runtime's own number for a process or a pod.
var number = regexp.MustCompile(`[0-9a-f]{64}`)

// withoutPod leaves out of a message what differs from call to call.
func withoutPod(message string) string {
	return number.ReplaceAllString(message, "ID")
}
