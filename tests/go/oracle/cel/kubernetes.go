package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/ext"
	"k8s.io/apimachinery/pkg/util/version"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// kubernetes is the environment of the API server, with the variables that the expressions use.
type kubernetes struct {
	env   *cel.Env
	input map[string]any
}

func newKubernetes(object any) (*kubernetes, error) {
	base, err := environment.MustBaseEnvSet(version.MajorMinor(1, 37)).Env(environment.NewExpressions)
	if err != nil {
		return nil, err
	}
	// cel.bind is the one thing that the guard has and the API server has not.
	env, err := base.Extend(
		ext.Bindings(),
		cel.Variable("object", cel.DynType),
		cel.Variable("oldObject", cel.DynType),
		cel.Variable("names", cel.ListType(cel.StringType)),
		cel.Variable("labels", cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable("count", cel.IntType),
	)
	if err != nil {
		return nil, err
	}
	return &kubernetes{env: env, input: map[string]any{
		"object":    object,
		"oldObject": nil,
		"names":     []string{"web", "db", "cache"},
		"labels":    map[string]string{"app": "web", "tier": "front"},
		"count":     int64(3),
	}}, nil
}

func (k *kubernetes) evaluate(expression string) outcome {
	program, refused := k.compile(expression)
	if refused != "" {
		return outcome{Compile: refused}
	}
	value, details, err := program.Eval(k.input)
	var cost uint64
	if details != nil && details.ActualCost() != nil {
		cost = *details.ActualCost()
	}
	if err != nil {
		return outcome{Error: err.Error(), Cost: cost}
	}
	return outcome{Value: render(value), Cost: cost}
}

func (k *kubernetes) compile(expression string) (cel.Program, string) {
	ast, issues := k.env.Compile(expression)
	if issues != nil && issues.Err() != nil {
		first := issues.Errors()[0]
		return nil, first.Message
	}
	program, err := k.env.Program(ast)
	if err != nil {
		return nil, err.Error()
	}
	return program, ""
}

// bench prints how long one evaluation takes, in nanoseconds: the best of several rounds.
func (k *kubernetes) bench(expression string) error {
	program, refused := k.compile(expression)
	if refused != "" {
		return errors.New(refused)
	}
	const evaluations = 2000
	best := math.Inf(1)
	for range 20 {
		begin := time.Now()
		for range evaluations {
			if _, _, err := program.Eval(k.input); err != nil {
				return err
			}
		}
		best = min(best, float64(time.Since(begin).Nanoseconds())/evaluations)
	}
	fmt.Printf("%.0f\n", best)
	return nil
}

func (k *kubernetes) printAnswers(expressions []string) error {
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	for _, expression := range expressions {
		answer := struct {
			Expression string `json:"expression"`
			outcome
		}{expression, k.evaluate(expression)}
		if err := encoder.Encode(answer); err != nil {
			return err
		}
	}
	return nil
}

// functions returns all declarations in the format of the guard's table: function, overload, member or not, parameters, result. The guard
// has no authorizer to ask.
func (k *kubernetes) functions() []string {
	functions := k.env.Functions()
	var names, lines []string
	for name := range functions {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		for _, overload := range functions[name].OverloadDecls() {
			form := "global"
			if overload.IsMemberFunction() {
				form = "member"
			}
			var parameters []string
			for _, parameter := range overload.ArgTypes() {
				parameters = append(parameters, parameter.String())
			}
			line := fmt.Sprintf("%s %s %s (%s) %s", name, overload.ID(), form, strings.Join(parameters, "; "), overload.ResultType())
			if !strings.Contains(line, "kubernetes.authorization") {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// render writes a value so that two values are equal if and only if their texts are.
func render(value ref.Val) string {
	switch value := value.(type) {
	case types.Null:
		return "null"
	case types.Bool:
		return fmt.Sprint(bool(value))
	case types.Int:
		return fmt.Sprint(int64(value))
	case types.Uint:
		return fmt.Sprint(uint64(value)) + "u"
	case types.Double:
		if math.IsNaN(float64(value)) {
			return "double(nan)"
		}
		return fmt.Sprintf("double(%016x)", math.Float64bits(float64(value)))
	case types.String:
		return quote(string(value))
	case types.Bytes:
		return "bytes(" + hex.EncodeToString(value) + ")"
	case types.Timestamp:
		return "timestamp(" + value.UTC().Format(time.RFC3339Nano) + ")"
	case types.Duration:
		return fmt.Sprintf("duration(%d)", value.Nanoseconds())
	case *types.Type:
		return "type(" + value.TypeName() + ")"
	case *types.Optional:
		if !value.HasValue() {
			return "optional.none"
		}
		return "optional(" + render(value.GetValue()) + ")"
	case apiservercel.IP:
		return "ip(" + value.String() + ")"
	case apiservercel.CIDR:
		return "cidr(" + value.String() + ")"
	case apiservercel.URL:
		return "url(" + value.String() + ")"
	case apiservercel.Quantity:
		return "quantity(" + decimal(value) + ")"
	case *apiservercel.Quantity:
		return "quantity(" + decimal(*value) + ")"
	case apiservercel.Semver:
		return "semver(" + value.String() + ")"
	case apiservercel.Format:
		return "format(" + value.Name + ")"
	case traits.Lister:
		var items []string
		for i := value.Iterator(); i.HasNext() == types.True; {
			items = append(items, render(i.Next()))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case traits.Mapper:
		var entries []string
		for i := value.Iterator(); i.HasNext() == types.True; {
			key := i.Next()
			entries = append(entries, render(key)+": "+render(value.Get(key)))
		}
		sort.Strings(entries)
		return "{" + strings.Join(entries, ", ") + "}"
	default:
		return fmt.Sprintf("unknown(%T)", value)
	}
}

// decimal writes a quantity as a number without trailing zeros, and its power of ten.
func decimal(quantity apiservercel.Quantity) string {
	exact := quantity.DeepCopy()
	number := exact.AsDec()
	unscaled, exponent := new(big.Int).Set(number.UnscaledBig()), -int64(number.Scale())
	if unscaled.Sign() == 0 {
		return "0e0"
	}
	for ten := big.NewInt(10); ; exponent++ {
		quotient, remainder := new(big.Int).QuoRem(unscaled, ten, new(big.Int))
		if remainder.Sign() != 0 {
			return fmt.Sprintf("%se%d", unscaled, exponent)
		}
		unscaled = quotient
	}
}

// quote writes a string as JSON; unlike Go's own, without escapes of what needs none.
func quote(text string) string {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err != nil {
		return fmt.Sprintf("unencodable(%q)", text)
	}
	return strings.TrimSuffix(out.String(), "\n")
}
