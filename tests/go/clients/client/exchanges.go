package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	protobufcodec "k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
)

const (
	// The objects that the rows read: more than 128 KiB, from which on the API server compresses.
	fixtures = 100
	// What the API server takes as a body (k8s.io/apiserver: MaxRequestBodyBytes).
	longestBody = 3 << 20
)

// prepare makes what the rows read.
func prepare(w *work) error {
	maps := kubernetes.NewForConfigOrDie(w.config).CoreV1().ConfigMaps(w.namespace)
	for number := range fixtures {
		object := &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("wire-%03d", number), Labels: map[string]string{"part": "wire"}},
			Data:       map[string]string{"text": strings.Repeat(fmt.Sprintf("%08d", number), 200)},
		}
		if _, err := maps.Create(w.ctx, object, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// lastVersion is the resource version of the fixture that was made last.
func lastVersion(w *work) (string, error) {
	maps := kubernetes.NewForConfigOrDie(w.config).CoreV1().ConfigMaps(w.namespace)
	last, err := maps.Get(w.ctx, fmt.Sprintf("wire-%03d", fixtures-1), metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	return last.ResourceVersion, nil
}

// exchanges are the rows. What they read does not change between two runs, so that the answers are equal to the byte.
func exchanges(w *work, version string) []exchange {
	maps := "/api/v1/namespaces/" + w.namespace + "/configmaps"
	selected := maps + "?labelSelector=part%3Dwire"
	// A list says at which resource version it was made: here it is always that of the last fixture.
	fixed := selected + "&resourceVersionMatch=Exact&resourceVersion=" + version
	return append(readings(maps, fixed), append(writings(maps), watchings(selected, "/apis/example.test/v1/namespaces/"+w.namespace+"/things")...)...)
}

func readings(maps, selected string) []exchange {
	accept := func(kind string) map[string]string { return map[string]string{"Accept": kind} }
	get := func(name, path string, status int, headers map[string]string, check func(*answer) error) exchange {
		return exchange{name: name, method: "GET", path: path, status: status, headers: headers, check: check}
	}
	table := "application/json;as=Table;v=v1;g=meta.k8s.io"
	discovery := "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	one := maps + "/wire-001"
	hex := maps + "/%77ire%2D001"
	long := url.QueryEscape("part in (" + strings.Repeat("no-such-value-of-a-label-no-such-value,", 1450) + "wire)")
	return []exchange{
		get("get", one, 200, nil, nil),
		get("get as YAML", one, 200, accept("application/yaml"), nil),
		get("get as protobuf", one, 200, accept(protobuf), nil),
		get("get as CBOR", one, 406, accept("application/cbor"), nil),
		get("get as CBOR or JSON", one, 200, accept("application/cbor, application/json;q=0.5"), nil),
		get("get as something unknown", one, 406, accept("image/png"), nil),
		get("list, first page", selected+"&limit=7", 200, nil, contains(`"continue":"`)),
		get("list with a wrong continue", maps+"?limit=7&continue=nonsense", 400, nil, nil),
		get("list as protobuf", selected, 200, accept(protobuf), nil),
		get("list, compressed", selected, 200, map[string]string{"Accept-Encoding": "gzip"}, unzips),
		get("list, compressed, as protobuf", selected, 200, map[string]string{"Accept-Encoding": "gzip", "Accept": protobuf}, unzips),
		get("short answer to one who takes gzip", one, 200, map[string]string{"Accept-Encoding": "gzip"}, nil),
		get("Table", selected+"&limit=3", 200, accept(table), contains(`"kind":"Table"`)),
		get("Table without objects", selected+"&limit=3&includeObject=None", 200, accept(table), nil),
		get("Table with whole objects", selected+"&limit=3&includeObject=Object", 200, accept(table), nil),
		get("Table or else JSON", selected+"&limit=3", 200, accept(table+",application/json"), nil),
		get("Table as protobuf", selected, 406, accept(protobuf+";as=Table;v=v1;g=meta.k8s.io"), nil),
		get("PartialObjectMetadataList", selected+"&limit=3", 200, accept("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"), contains("PartialObjectMetadataList")),
		get("PartialObjectMetadataList as protobuf", selected+"&limit=3", 200, accept(protobuf+";as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"), nil),
		get("aggregated discovery", "/apis", 200, accept(discovery), contains("APIGroupDiscoveryList")),
		get("aggregated discovery of the core", "/api", 200, accept(discovery), nil),
		get("discovery of old", "/apis/apps/v1", 200, nil, nil),
		get("openapi v2", "/openapi/v2", 200, map[string]string{"Accept-Encoding": "gzip"}, unzips),
		get("openapi v2 as protobuf", "/openapi/v2", 200, accept("application/com.github.proto-openapi.spec.v2@v1.0+protobuf"), nil),
		get("openapi v3", "/openapi/v3", 200, nil, nil),
		get("openapi v3 of a group", "/openapi/v3/apis/apps/v1", 200, nil, hasETag),
		get("openapi v3 of a group, with a wrong hash", "/openapi/v3/apis/apps/v1?hash=0", 200, nil, nil),
		get("version", "/version", 200, nil, nil),
		get("readiness in words", "/readyz?verbose", 200, nil, nil),
		get("labels of 60 KB", strings.Replace(selected, "part%3Dwire", long, 1)+"&limit=1", 200, nil, contains("wire-000")),
		get("a name with percent signs", hex, 200, nil, contains("wire-001")),
		get("a name with a colon", "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode", 200, nil, contains("system:node")),
		get("a name with a blank", maps+"/a%20b", 404, nil, nil),
		get("a name of Unicode", maps+"/%C3%A4", 404, nil, nil),
		get("a selector with odd signs", selected+"&fieldSelector=metadata.name%21%3Dwire-000%2Cmetadata.name%21%3Dwire-001&limit=1", 200, nil, contains("wire-002")),
		get("what is not there", maps+"/nothing", 404, nil, nil),
		get("a resource that is not there", "/apis/absent.test/v1/things", 404, nil, nil),
		get("a wrong selector", maps+"?fieldSelector=spec.nothing%3D1", 400, nil, nil),
		get("pretty", one+"?pretty=true", 200, nil, contains("\n  \"")),
		get("a range", one, 200, map[string]string{"Range": "bytes=0-9"}, nil),
		{name: "HEAD of an object", method: "HEAD", path: one, status: 405},
		{name: "HEAD of a path", method: "HEAD", path: "/version", status: 405},
		{name: "OPTIONS", method: "OPTIONS", path: one, status: 405},
		{name: "a method of ours", method: "BREW", path: one, status: 405},
	}
}

func writings(maps string) []exchange {
	const dry = "?dryRun=All&fieldManager=wire"
	object := func(size int) []byte {
		text, err := json.Marshal(configMap(size))
		if err != nil {
			panic(err)
		}
		return text
	}
	post := func(name, kind string, status int, body []byte) exchange {
		headers := map[string]string{"Content-Type": kind}
		return exchange{name: name, method: "POST", path: maps + dry, headers: headers, status: status, body: whole(body)}
	}
	with := func(row exchange, header, value string) exchange {
		row.headers[header] = value
		return row
	}
	chunked := func(row exchange, body func() io.Reader) exchange {
		row.body = body
		return row
	}
	const isJSON = "application/json"
	plain := object(10)
	trailing := chunked(post("create in chunks, with trailers", isJSON, 201, nil), func() io.Reader { return io.MultiReader(bytes.NewReader(plain)) })
	trailing.trailer = map[string]string{"X-Checksum": "1"}
	return []exchange{
		post("create", isJSON, 201, plain),
		post("create from YAML", "application/yaml", 201, []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: made}\ndata: {a: b}\n")),
		post("create from protobuf", protobuf, 201, encoded(configMap(10))),
		post("create from CBOR", "application/cbor", 415, []byte{0xd9, 0xd9, 0xf7, 0xa0}),
		post("create from something unknown", "text/html", 415, plain),
		post("create from no JSON", isJSON, 400, []byte("{")),
		post("create from nothing", isJSON, 400, nil),
		post("create without a name", isJSON, 422, []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{}}`)),
		with(post("create from gzip", isJSON, 400, zipped(plain)), "Content-Encoding", "gzip"),
		with(post("create from plain text that claims to be gzip", isJSON, 201, plain), "Content-Encoding", "gzip"),
		with(post("create, waiting for 100 Continue", isJSON, 201, plain), "Expect", "100-continue"),
		chunked(post("create in slow chunks", isJSON, 201, nil), func() io.Reader { return &slow{rest: plain} }),
		trailing,
		post("a megabyte too many for an object", isJSON, 422, object(2<<20)),
		post("a body as long as can be", isJSON, 422, padded(longestBody)),
		post("a body a byte too long", isJSON, 413, padded(longestBody+1)),
		chunked(post("a body a byte too long, in chunks", isJSON, 413, nil), func() io.Reader { return io.MultiReader(bytes.NewReader(padded(longestBody + 1))) }),
		{name: "unknown fields with a warning", method: "POST", path: maps + dry + "&fieldValidation=Warn", status: 201,
			headers: map[string]string{"Content-Type": isJSON}, check: warns,
			body: whole([]byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"made"},"unknown":1}`))},
		{name: "merge patch", method: "PATCH", path: maps + "/wire-001" + dry, status: 200,
			headers: map[string]string{"Content-Type": "application/merge-patch+json"}, body: whole([]byte(`{"data":{"x":"y"}}`))},
		{name: "apply", method: "PATCH", path: maps + "/made" + dry + "&force=true", status: 201,
			headers: map[string]string{"Content-Type": "application/apply-patch+yaml"}, body: whole([]byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: made}\ndata: {a: b}\n"))},
		{name: "a patch of no known kind", method: "PATCH", path: maps + "/wire-001" + dry, status: 415,
			headers: map[string]string{"Content-Type": "application/json"}, body: whole([]byte(`{}`))},
		{name: "replace with another name", method: "PUT", path: maps + "/wire-001" + dry, status: 400,
			headers: map[string]string{"Content-Type": isJSON}, body: whole(plain)},
		{name: "delete with options", method: "DELETE", path: maps + "/wire-001" + dry, status: 200,
			headers: map[string]string{"Content-Type": isJSON}, body: whole([]byte(`{"apiVersion":"v1","kind":"DeleteOptions","propagationPolicy":"Background","dryRun":["All"]}`))},
		{name: "a method that a collection has not", method: "PUT", path: maps, status: 405, headers: map[string]string{}},
	}
}

func watchings(selected, things string) []exchange {
	get := func(name, query, accept string, status int, check func(*answer) error) exchange {
		headers := map[string]string{"Accept": accept}
		return exchange{name: name, method: "GET", path: selected + "&watch=1&timeoutSeconds=1" + query, headers: headers, status: status, check: check}
	}
	const isJSON = "application/json"
	initial := "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
	return []exchange{
		get("watch", "&resourceVersion=0", isJSON, 200, contains(`"type":"ADDED"`)),
		get("watch as protobuf", "&resourceVersion=0", protobuf+";type=watch", 200, nil),
		get("watch as Table", "&resourceVersion=0", "application/json;as=Table;v=v1;g=meta.k8s.io", 200, contains(`"kind":"Table"`)),
		get("watch of metadata", "&resourceVersion=0", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", 200, nil),
		get("watch-list", initial, isJSON, 200, contains("k8s.io/initial-events-end")),
		get("watch-list without bookmarks", "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", isJSON, 200, nil),
		{name: "watch from a resource version of long ago", method: "GET", path: things + "?watch=1&timeoutSeconds=9&resourceVersion=1", status: 200,
			check: contains(`"code":410`)},
		get("watch from a resource version that is none", "&resourceVersion=nonsense", isJSON, 500, nil),
	}
}

func configMap(size int) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: "made"},
		Data:       map[string]string{"text": strings.Repeat("x", size)},
	}
}

// padded is a create request of this length: a sound one, but for its size.
func padded(length int) []byte {
	head := []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"made"},"data":{"a":"`)
	return append(append(head, bytes.Repeat([]byte("x"), length-len(head)-3)...), '"', '}', '}')
}

func encoded(object runtime.Object) []byte {
	var out bytes.Buffer
	if err := protobufcodec.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(object, &out); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func zipped(data []byte) []byte {
	var out bytes.Buffer
	writer := gzip.NewWriter(&out)
	_, err := writer.Write(data)
	if err = errors.Join(err, writer.Close()); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func whole(data []byte) func() io.Reader {
	return func() io.Reader { return bytes.NewReader(data) }
}

// slow is a body that comes in pieces, with pauses.
type slow struct{ rest []byte }

func (s *slow) Read(into []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	time.Sleep(50 * time.Millisecond)
	taken := copy(into[:min(len(into), 16)], s.rest)
	s.rest = s.rest[taken:]
	return taken, nil
}

func contains(text string) func(*answer) error {
	return func(answer *answer) error {
		if !bytes.Contains(answer.raw, []byte(text)) {
			return fmt.Errorf("the answer has no %q: %s", text, answer.Body)
		}
		return nil
	}
}

func unzips(answer *answer) error {
	if answer.header.Get("Content-Encoding") != "gzip" {
		return errors.New("the answer is not compressed")
	}
	reader, err := gzip.NewReader(bytes.NewReader(answer.raw))
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, reader)
	return err
}

func hasETag(answer *answer) error {
	if answer.header.Get("Etag") == "" {
		return errors.New("the answer has no ETag")
	}
	return nil
}

func warns(answer *answer) error {
	if answer.header.Get("Warning") == "" {
		return errors.New("the answer has no warning")
	}
	return nil
}
