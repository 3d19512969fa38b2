@local @commit
Feature: 920 removes what 020 has made, and only when it is meant
  Removing can't be undone, so the notebook only shows what would go until somebody says that they mean it.

  Scenario: Without a word nothing is removed; with it, everything
    Given a design of a master and 1 compute node
    And "clusterbook apply {cluster} --yes" has succeeded
    When the provider's listing is noted
    And tmplrun runs notebook 920
    Then it succeeds
    And the provider's listing is as noted
    When tmplrun runs notebook 920 with
      | really | True |
    Then it succeeds
    And the provider lists nothing of the cluster
    When "clusterbook list --json" runs
    Then it succeeds
    And it does not say "{cluster}"
    # The design outlives the cluster: 020 would make it again.
    When tmplrun runs notebook 920 with
      | really | True |
    Then it succeeds

  Scenario: 000 lists the clusters without touching them
    Given a design of a master and 1 compute node
    And "clusterbook apply {cluster} --yes" has succeeded
    When the provider's listing is noted
    And tmplrun runs notebook 000
    Then it succeeds
    And the provider's listing is as noted
