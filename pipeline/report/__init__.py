"""The report: what a run made, proved and measured. JSON is the truth; text and Markdown are views of it."""
