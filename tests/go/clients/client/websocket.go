package main

import (
	"fmt"
	"net/http"
	"sort"
	"strings"

	"github.com/gorilla/websocket"
	"k8s.io/client-go/rest"
)

// webSocketSteps are what the API server serves over WebSocket beside exec and port-forward: watches and logs.
func webSocketSteps(w *work) []step {
	watch := "/api/v1/namespaces/" + w.namespace + "/configmaps?labelSelector=part%3Dwire&watch=1&resourceVersion=0&timeoutSeconds=1"
	logs := "/api/v1/namespaces/" + w.namespace + "/pods/" + w.pod + "/log?tailLines=3"
	ask := func(name, path, protocol string) step {
		return step{name + " over WebSocket, " + protocol, func() (any, error) { return listen(w, path, protocol) }}
	}
	return []step{
		ask("watch", watch, ""),
		ask("watch", watch, "binary.k8s.io"),
		ask("watch", watch, "base64.binary.k8s.io"),
		ask("log", logs, "binary.k8s.io"),
		ask("log", logs, "base64.binary.k8s.io"),
		ask("what is not there", "/api/v1/namespaces/"+w.namespace+"/pods/nothing/log", "binary.k8s.io"),
	}
}

// What came over a WebSocket.
type heard struct {
	Status   int
	Protocol string
	Messages []string
	End      string
}

// listen reads messages to the end.
func listen(w *work, path, protocol string) (any, error) {
	settings, err := rest.TLSConfigFor(w.config)
	if err != nil {
		return nil, err
	}
	secret, err := token(w.config)
	if err != nil {
		return nil, err
	}
	dialer := websocket.Dialer{TLSClientConfig: settings}
	if protocol != "" {
		dialer.Subprotocols = []string{protocol}
	}
	// A watch over WebSocket is refused without an origin.
	header := http.Header{"Authorization": {"Bearer " + secret}, "Origin": {w.config.Host}}
	connection, response, err := dialer.DialContext(w.ctx, strings.Replace(w.config.Host, "https", "wss", 1)+path, header)
	if err != nil && response == nil {
		return nil, err
	}
	result := heard{Status: response.StatusCode, Protocol: response.Header.Get("Sec-WebSocket-Protocol")}
	if err != nil {
		result.End = err.Error()
		return result, nil
	}
	defer connection.Close()
	for {
		kind, message, err := connection.ReadMessage()
		if err != nil {
			result.End = err.Error()
			break
		}
		result.Messages = append(result.Messages, fmt.Sprintf("%d %d %s", kind, len(message), digest(message)))
	}
	// A watch from the cache begins in the order of the cache.
	sort.Strings(result.Messages)
	return result, nil
}
